// Command argo prints what the workflow controller of Argo Workflows exposes: its own code for metrics, told by hand of
// what a controller would tell it.
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v4/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v4/util/logging"
	"github.com/argoproj/argo-workflows/v4/util/telemetry"
	"github.com/argoproj/argo-workflows/v4/workflow/metrics"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
)

const port = 19090

func main() {
	logger := logging.NewSlogLoggerCustom(logging.Error, logging.Text, os.Stderr)
	ctx := logging.WithLogger(context.Background(), logger)
	phases := func(context.Context) map[string]int64 { return map[string]int64{"Running": 1, "Pending": 1} }
	callbacks := metrics.Callbacks{
		PodPhase:          phases,
		WorkflowPhase:     phases,
		WorkflowCondition: func(context.Context) map[wfv1.Condition]int64 {
			return map[wfv1.Condition]int64{{Type: wfv1.ConditionTypePodRunning, Status: "True"}: 1}
		},
		IsLeader:          func() bool { return true },
	}
	config := telemetry.Config{Enabled: true, Port: port, TTL: time.Hour}
	m, err := metrics.New(ctx, "workflows-controller", "argo_workflows", &config, callbacks)
	if err != nil {
		log.Fatal(err)
	}
	work(ctx, m)
	request(ctx)
	go m.RunPrometheusServer(ctx, false)
	if err := scrape(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// work tells of two workflows, their pods, and a schedule.
func work(ctx context.Context, m *metrics.Metrics) {
	for _, phase := range []metrics.MetricWorkflowPhase{
		metrics.WorkflowNew, metrics.WorkflowPending, metrics.WorkflowRunning,
		metrics.WorkflowSucceeded, metrics.WorkflowFailed, metrics.WorkflowError,
	} {
		m.ChangeWorkflowPhase(ctx, phase, "shop")
		m.CountWorkflowTemplate(ctx, phase, "report", "shop", false)
	}
	m.RecordWorkflowTemplateTime(ctx, time.Minute, "report", "shop", false)
	for _, phase := range []string{"Pending", "Running", "Succeeded", "Failed"} {
		m.ChangePodPhase(ctx, phase, "shop")
	}
	m.ChangePodPending(ctx, "Unschedulable", "shop")
	m.RecordPodRestart(ctx, "Evicted", "The node had condition: [DiskPressure].", "shop")
	m.PodMissingInc(ctx, true, "Running")
	m.CronWfTrigger(ctx, "nightly", "shop")
	m.CronWfPolicy(ctx, "nightly", "shop", wfv1.ForbidConcurrent)
	m.CronWfPolicy(ctx, "nightly", "shop", wfv1.ReplaceConcurrent)
	m.CronWorkflowSubmissionError(ctx)
	m.CronWorkflowSpecError(ctx)
	m.OperationPanic(ctx)
	m.OperationCompleted(ctx, 0.1)

	workqueue.SetProvider(m)
	limiter := workqueue.DefaultTypedControllerRateLimiter[string]()
	queue := m.RateLimiterWithBusyWorkers(ctx, limiter, "workflow_queue")
	queue.Add("shop/report")
	item, _ := queue.Get()
	queue.Done(item)
}

// request makes one request by a client that is measured as the controller's is.
func request(ctx context.Context) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	config := metrics.AddMetricsTransportWrapper(ctx, &rest.Config{Host: server.URL})
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		log.Fatal(err)
	}
	response, err := client.Get(server.URL + "/api/v1/namespaces/shop/pods")
	if err != nil {
		log.Fatal(err)
	}
	response.Body.Close()
}

func scrape(to io.Writer) error {
	var err error
	for range 50 {
		var response *http.Response
		if response, err = http.Get("http://127.0.0.1:19090/metrics"); err == nil {
			defer response.Body.Close()
			_, err = io.Copy(to, response.Body)
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}
