"""A service that makes reports on request, with its metrics beside its other paths."""

import time

from fastapi import FastAPI, HTTPException

import flowgauge

PRICES = {"mug": 850, "plate": 1120, "bowl": 990}  # cents

# No port of its own: the application serves the metrics.
flowgauge.setup_observability(serve=False)
app = FastAPI(title="Reports")
flowgauge.mount(app)


class UnknownItemError(LookupError):
    """There is no such item."""


# Plain functions, so that FastAPI runs them in its threads; coroutines are measured as well.
@app.post("/reports/{item}")
def report(item: str, quantity: int = 1) -> dict[str, int]:
    """Make one report."""
    try:
        return make(item, quantity)
    except UnknownItemError as error:
        raise HTTPException(404, f"there is no {item}") from error


@flowgauge.workflow(name="report", trigger="event")
def make(item: str, quantity: int) -> dict[str, int]:
    """One run."""
    return total(look_up(item), quantity)


@flowgauge.step(workflow="report")
def look_up(item: str) -> int:
    """The price of an item."""
    time.sleep(0.02)  # a database
    if item not in PRICES:
        raise UnknownItemError(item)
    return PRICES[item]


@flowgauge.step(workflow="report")
def total(price: int, quantity: int) -> dict[str, int]:
    """What the report says."""
    return {"price": price, "total": price * quantity}
