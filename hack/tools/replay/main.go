// Replay runs Prometheus' own rule evaluation over a history at the speed of the machine.
//
// Scrapes are appended to a real TSDB in the order of their time. Each rule is evaluated as a server does it: at the
// instants of its group, by the engine, its result appended before the next rule reads. Rules whose series nobody reads
// over a range leave no trace in others, so they are evaluated only where somebody wants to know them.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

const lookback = 5 * time.Minute

var syntax = parser.NewParser(parser.Options{})

func main() {
	scrapes := flag.String("scrapes", "", "file of `series ID LABELS` lines, then `MILLISECONDS ID VALUE|stale` lines by time")
	at := flag.String("at", "", "file of instants in milliseconds, a line each: what is recorded then is printed as JSON")
	dir := flag.String("storage", "", "empty folder for the TSDB")
	blocks := flag.Bool("blocks", false, "leave blocks and a WAL in the folder, as a server would; without, all is in memory")
	all := flag.Bool("all", false, "evaluate every rule at every instant, alerts as well, so that the folder holds what a server would show")
	fine := flag.Int64("fine", 0, "instant in milliseconds before which -all evaluates what nobody reads over a range only every fourth time")
	flag.Parse()
	if err := run(*scrapes, *at, *dir, *blocks, *all, *fine, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func run(scrapes, at, dir string, blocks, all bool, fine int64, files []string) error {
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = (10 * 365 * 24 * time.Hour).Milliseconds()
	if blocks {
		// A tenth of the retention, as a server that keeps a month.
		opts.MaxBlockDuration = (72 * time.Hour).Milliseconds()
	} else {
		opts.MinBlockDuration, opts.MaxBlockDuration = opts.RetentionDuration, opts.RetentionDuration
		opts.WALSegmentSize = -1
	}
	db, err := tsdb.Open(dir, slog.New(slog.DiscardHandler), nil, opts, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	feed, err := open(scrapes)
	if err != nil {
		return err
	}
	instants, err := read(at)
	if err != nil {
		return err
	}
	groups, err := load(files, feed.first, all)
	if err != nil {
		return err
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50000000, Timeout: 10 * time.Minute, LookbackDelta: lookback,
		EnableAtModifier: true, EnableNegativeOffset: true, Parser: syntax,
	})
	replay := &replay{db: db, feed: feed, query: rules.EngineQueryFunc(engine, db), instants: instants, all: all, fine: fine, out: json.NewEncoder(os.Stdout)}
	return replay.run(groups, blocks)
}

// A group is due at its own instants, as in a server: at a fixed part of its interval, which its name decides.
type group struct {
	rules    []*rule
	interval int64
	due      int64
}

type rule struct {
	rules.Rule
	name  string // of its group
	feeds bool   // others read its history
	lends bool   // a rule of another group reads its newest value
	seen  map[string]labels.Labels
}

func load(files []string, first int64, alerts bool) ([]*group, error) {
	var groups []*group
	for _, file := range files {
		parsed, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, syntax, slog.New(slog.DiscardHandler))
		if len(errs) > 0 {
			return nil, errs[0]
		}
		for _, g := range parsed.Groups {
			interval := time.Duration(g.Interval)
			whole := rules.NewGroup(rules.GroupOptions{Name: g.Name, File: file, Interval: interval, Opts: &rules.ManagerOptions{}})
			made := &group{interval: interval.Milliseconds(), due: whole.EvalTimestamp(first * int64(time.Millisecond)).UnixMilli()}
			for made.due < first {
				made.due += made.interval
			}
			for _, r := range g.Rules {
				if r.Record == "" && !alerts {
					continue // alerts record nothing that others read
				}
				expr, err := syntax.ParseExpr(r.Expr)
				if err != nil {
					return nil, err
				}
				made.rules = append(made.rules, &rule{Rule: ruleOf(r, expr), name: g.Name})
			}
			groups = append(groups, made)
		}
	}
	mark(groups)
	return groups, nil
}

func ruleOf(r rulefmt.Rule, expr parser.Expr) rules.Rule {
	lset := labels.FromMap(r.Labels)
	if r.Record != "" {
		return rules.NewRecordingRule(r.Record, expr, lset)
	}
	// Without its annotations: nobody is told.
	none := labels.EmptyLabels()
	return rules.NewAlertingRule(r.Alert, expr, time.Duration(r.For), time.Duration(r.KeepFiringFor), lset, none, none, "", true, slog.New(slog.DiscardHandler))
}

// mark finds the rules whose history matters: those that others read over a range, and what these read in turn.
func mark(groups []*group) {
	ranged, plain := map[string]bool{}, map[*rule][]string{}
	var all []*rule
	readers := map[string]map[string]bool{}
	for _, g := range groups {
		all = append(all, g.rules...)
	}
	for _, r := range all {
		parser.Inspect(r.Query(), func(node parser.Node, path []parser.Node) error {
			if selector, ok := node.(*parser.VectorSelector); ok {
				over := false
				for _, above := range path {
					switch above.(type) {
					case *parser.MatrixSelector, *parser.SubqueryExpr:
						over = true
					}
				}
				if over || selector.OriginalOffset != 0 {
					ranged[selector.Name] = true
				} else {
					plain[r] = append(plain[r], selector.Name)
				}
				if readers[selector.Name] == nil {
					readers[selector.Name] = map[string]bool{}
				}
				readers[selector.Name][r.name] = true
			}
			return nil
		})
	}
	for _, r := range all {
		for reader := range readers[r.Name()] {
			r.lends = r.lends || reader != r.name
		}
	}
	for grown := true; grown; {
		grown = false
		for _, r := range all {
			if !r.feeds && ranged[r.Name()] {
				r.feeds, grown = true, true
				for _, name := range plain[r] {
					ranged[name] = true
				}
			}
		}
	}
}

type replay struct {
	db       *tsdb.DB
	feed     *feed
	query    rules.QueryFunc
	instants []int64
	all      bool
	fine     int64
	out      *json.Encoder
}

func (r *replay) run(groups []*group, blocks bool) error {
	compacted := r.feed.first
	for {
		now := compacted + (2 * time.Hour).Milliseconds()
		sort.SliceStable(groups, func(i, j int) bool { return groups[i].due < groups[j].due })
		due := len(groups) > 0 && groups[0].due <= now
		if due {
			now = groups[0].due
		}
		if now > r.feed.last {
			return r.feed.appendUntil(r.feed.last, r.db)
		}
		if err := r.feed.appendUntil(now, r.db); err != nil {
			return err
		}
		if due {
			if err := r.evaluate(groups[0], now); err != nil {
				return err
			}
			groups[0].due += groups[0].interval
			continue
		}
		compacted = now
		if blocks {
			if err := r.db.Compact(context.Background()); err != nil {
				return err
			}
		}
	}
}

func (r *replay) evaluate(g *group, now int64) error {
	// What a server shows at an instant is what it evaluated last before it.
	i := sort.Search(len(r.instants), func(i int) bool { return r.instants[i] >= now })
	asked := i < len(r.instants) && r.instants[i] < now+g.interval
	soon := i < len(r.instants) && r.instants[i] < now+g.interval+lookback.Milliseconds()
	all := r.all && (now >= r.fine || now/g.interval%4 == 0)
	for _, one := range g.rules {
		if !all && !asked && !one.feeds && !(soon && one.lends) {
			continue
		}
		if err := r.record(one, now, asked); err != nil {
			return fmt.Errorf("%s %s: %w", one.name, one.Name(), err)
		}
	}
	return nil
}

func (r *replay) record(one *rule, now int64, asked bool) error {
	ctx := context.Background()
	vector, err := one.Eval(ctx, 0, time.UnixMilli(now), r.query, nil, 0)
	if err != nil {
		return err
	}
	app := r.db.Appender(ctx)
	seen := make(map[string]labels.Labels, len(vector))
	for _, sample := range vector {
		if _, err := app.Append(0, sample.Metric, sample.T, sample.F); err != nil {
			return err
		}
		seen[sample.Metric.String()] = sample.Metric
	}
	for key, metric := range one.seen {
		if _, still := seen[key]; !still {
			if _, err := app.Append(0, metric, now, math.Float64frombits(value.StaleNaN)); err != nil {
				return err
			}
		}
	}
	one.seen = seen
	if err := app.Commit(); err != nil {
		return err
	}
	if !asked {
		return nil
	}
	for _, sample := range vector {
		line := map[string]any{"group": one.name, "record": one.Name(), "at": now, "labels": sample.Metric.Map()}
		// JSON knows no NaN.
		line["value"] = strconv.FormatFloat(sample.F, 'g', -1, 64)
		if err := r.out.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// A feed is a file of scrapes, read as time goes by.
type feed struct {
	lines  *bufio.Scanner
	series map[string]labels.Labels
	refs   map[string]storage.SeriesRef
	next   []string
	first  int64
	last   int64
}

func open(path string) (*feed, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &feed{lines: bufio.NewScanner(file), series: map[string]labels.Labels{}, refs: map[string]storage.SeriesRef{}}
	for f.lines.Scan() {
		words := strings.SplitN(f.lines.Text(), " ", 3)
		switch words[0] {
		case "series":
			var set map[string]string
			if err := json.Unmarshal([]byte(words[2]), &set); err != nil {
				return nil, err
			}
			f.series[words[1]] = labels.FromMap(set)
			continue
		case "until":
			f.last, err = strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return nil, err
			}
			continue
		}
		f.next = words
		f.first, err = strconv.ParseInt(words[0], 10, 64)
		return f, err
	}
	return nil, fmt.Errorf("%s has no samples", path)
}

// appendUntil appends what was scraped until then; it is there before anything is evaluated at that time.
func (f *feed) appendUntil(until int64, db *tsdb.DB) error {
	app := db.Appender(context.Background())
	for f.next != nil {
		at, err := strconv.ParseInt(f.next[0], 10, 64)
		if err != nil {
			return err
		}
		if at > until {
			break
		}
		number := math.Float64frombits(value.StaleNaN)
		if f.next[2] != "stale" {
			if number, err = strconv.ParseFloat(f.next[2], 64); err != nil {
				return err
			}
		}
		id := f.next[1]
		ref, err := app.Append(f.refs[id], f.series[id], at, number)
		if err != nil {
			return fmt.Errorf("%v: %w", f.next, err)
		}
		f.refs[id] = ref
		f.next = nil
		if f.lines.Scan() {
			f.next = strings.SplitN(f.lines.Text(), " ", 3)
		}
	}
	return app.Commit()
}

func read(path string) ([]int64, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var instants []int64
	for _, word := range strings.Fields(string(text)) {
		at, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, err
		}
		instants = append(instants, at)
	}
	sort.Slice(instants, func(i, j int) bool { return instants[i] < instants[j] })
	return instants, nil
}
