"""A simulated day of a WorkerPool, decided by the operator's own function, as a picture: `make scaling-picture`.

Nothing is measured here: the queue and the workers are a model of a few lines. What is real is each decision.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec

from hammerwork import QueueDepth
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.api.workerpool import WorkerPoolSpec
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.workerpool import scaling
from hammerwork_operator.workerpool.history import History

PICTURE = Path(__file__).parents[1] / "docs" / "scaling-day.svg"

TICK = 5
HOUR = 3_600
DAY = 24 * HOUR
POD_START_SECONDS = 10
LEASE_SECONDS = 30
RESTART_SECONDS = 60
JOB_SECONDS, SLOW_JOB_SECONDS = 2.0, 6.0

SPEC = msgspec.convert(
    {
        "queue": "mail",
        "handler": {"python": {"function": "handlers:send"}},
        "concurrency": 10,
        "autoscaling": {"minReplicas": 0, "maxReplicas": 20, "targetDrainSeconds": 120},
    },
    WorkerPoolSpec,
)
BURSTS = {2 * HOUR: 60_000, 10 * HOUR: 120_000, 12.75 * HOUR: 60_000, 20 * HOUR: 5_000}
SLOW = (15 * HOUR, 16 * HOUR)
AWAY = (13 * HOUR, 13.5 * HOUR)
CRASHES = (17 * HOUR, 17.5 * HOUR)
TRICKLE = (8 * HOUR, 18 * HOUR)
AWAY_OBSTACLE = Obstacle(Reason.DATABASE_UNAVAILABLE, "the database cannot be used now", passing=True)


@dataclass
class Point:
    """The pool at one moment."""

    hour: float
    jobs: float
    wanted: int
    working: int
    known: bool
    limited: bool


@dataclass
class Day:
    """The model: jobs that come and go, workers that start, work and crash."""

    random: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 (a model)
    ready: float = 0.0
    lost: deque[tuple[float, float]] = field(default_factory=deque)
    """Jobs of crashed workers, and when they are given back."""
    starts: list[float] = field(default_factory=list)
    """When each worker that there is to be began, or begins, to work."""
    done: deque[tuple[float, float, float]] = field(default_factory=deque)
    """Time, number and seconds of the jobs that ended within the last hour."""
    running: float = 0.0
    """Lanes that were busy, on average."""

    def step(self, now: float, wanted: int) -> None:
        """Let `TICK` seconds pass."""
        self.ready += sum(count for at, count in BURSTS.items() if now - TICK < at <= now)
        if TRICKLE[0] <= now < TRICKLE[1]:
            self.ready += TICK * (20 + 12 * math.sin(now / 1_500) + self.random.uniform(-3, 3))
        del self.starts[wanted:]
        self.starts += [now + POD_START_SECONDS] * (wanted - len(self.starts))
        while self.lost and self.lost[0][0] <= now:
            self.ready += self.lost.popleft()[1]
        if AWAY[0] <= now < AWAY[1]:
            return
        if CRASHES[0] <= now < CRASHES[1] and now % 120 == 0:
            crashed = len(self.starts) // 2
            self.starts[:crashed] = [now + RESTART_SECONDS] * crashed
            part = min(self.ready, crashed * SPEC.concurrency)
            self.ready -= part
            self.lost.append((now + LEASE_SECONDS, part))
        seconds = SLOW_JOB_SECONDS if SLOW[0] <= now < SLOW[1] else JOB_SECONDS
        lanes = self.working(now) * SPEC.concurrency
        ended = min(self.ready, lanes * TICK / seconds)
        self.ready -= ended
        self.running = ended * seconds / TICK
        self.done.append((now, ended, ended * seconds))
        while self.done[0][0] <= now - HOUR:
            self.done.popleft()

    def working(self, now: float) -> int:
        """Return the workers that work."""
        return sum(begin <= now for begin in self.starts)

    def seen(self, now: float) -> scaling.Backlog | Obstacle:
        """Return what the operator sees of it."""
        if AWAY[0] <= now < AWAY[1]:
            return AWAY_OBSTACLE
        held = sum(count for _, count in self.lost)
        depth = QueueDepth(
            queue=SPEC.queue,
            ready=math.ceil(self.ready),
            running=math.ceil(self.running + held),
            scheduled=0,
            oldest_ready_seconds=None,
        )
        ended = sum(count for _, count, _ in self.done)
        mean = sum(seconds for _, _, seconds in self.done) / ended if ended else None
        return scaling.Backlog(depth=depth, job_seconds=mean)


def run() -> list[Point]:
    """Return the day."""
    day, history, workers, points = Day(), History(), 0, []
    behavior = SPEC.autoscaling.behavior  # type: ignore[union-attr]
    for now in range(0, DAY + 1, TICK):
        day.step(now, workers)
        seen = day.seen(now)
        decision = scaling.decide(SPEC, seen, workers, history, now)
        history = decision.history
        if decision.workers != workers:
            history = history.rescaled(now, decision.workers - workers, behavior)
            workers = decision.workers
        jobs = day.ready + sum(count for _, count in day.lost)
        active, limited = (each["status"] == "True" for each in decision.conditions)
        working = 0 if AWAY[0] <= now < AWAY[1] else day.working(now)
        points.append(
            Point(now / HOUR, jobs, workers, working, known=active or jobs == 0, limited=limited and jobs > 0)
        )
    return points


WIDTH, LEFT, PANEL, MOST_JOBS = 1_000, 60, 170, 120_000
BLUE, GREEN, GREY, AMBER = "#1565c0", "#43a047", "#e0e0e0", "#fb8c00"
NOTES = (
    (2, "a nightly batch of 60,000"),
    (8, "the day begins"),
    (10, "120,000 more"),
    (12.75, "60,000"),
    (13, "database away"),
    (15, "slow jobs"),
    (17, "crashes"),
    (20, "5,000"),
)


def picture(points: list[Point]) -> str:
    """Return the day as SVG."""
    height = 2 * PANEL + 130
    root = ET.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}", width=str(WIDTH), height=str(height)
    )
    root.set("font-family", "sans-serif")
    root.set("font-size", "12")
    ET.SubElement(root, "rect", width="100%", height="100%", fill="white")
    jobs_top, workers_top = 50, PANEL + 90
    for top in (jobs_top, workers_top):
        for hours in spans([(point.hour, not point.known) for point in points]):
            band(root, hours, top, PANEL, GREY)
    for hours in spans([(point.hour, point.limited) for point in points]):
        band(root, hours, workers_top + PANEL + 4, 6, AMBER)
    axes(root, jobs_top, "jobs", MOST_JOBS, step=30_000)
    axes(root, workers_top, "workers: wanted", 20, step=5)
    for number, (hour, text) in enumerate(NOTES):
        y = 14 + 12 * (number % 2)
        label(root, (x(hour) + 3, y), text, "#555555")
        line(root, (x(hour), y - 10), (x(hour), workers_top + PANEL), "#bbbbbb")
    draw(root, workers_top, [(point.hour, point.working) for point in points], 20, GREEN)
    draw(root, workers_top, [(point.hour, point.wanted) for point in points], 20, BLUE)
    draw(root, jobs_top, [(point.hour, point.jobs) for point in points], MOST_JOBS, BLUE)
    label(root, (LEFT + 108, workers_top - 6), "at work", GREEN)
    label(root, (LEFT + 170, workers_top - 6), "grey: the backlog is not known", "#757575")
    label(root, (LEFT + 370, workers_top - 6), "bar below: ScalingLimited while there are jobs", AMBER)
    for hour in range(0, 25, 2):
        label(root, (x(hour), height - 12), f"{hour}:00", "#333333", anchor="middle")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def spans(flags: list[tuple[float, bool]]) -> list[tuple[float, float]]:
    """Return the hours from and to which a flag holds."""
    found: list[tuple[float, float]] = []
    begin = None
    for hour, holds in [*flags, (flags[-1][0], False)]:
        if holds and begin is None:
            begin = hour
        elif not holds and begin is not None:
            found.append((begin, hour))
            begin = None
    return found


def axes(root: ET.Element, top: float, title: str, most: float, *, step: float) -> None:
    """Draw the axes of a panel."""
    label(root, (LEFT, top - 6), title, BLUE)
    for number in range(int(most / step) + 1):
        y = top + PANEL * (1 - number * step / most)
        line(root, (LEFT, y), (x(24), y), "#eeeeee")
        label(root, (LEFT - 6, y + 4), f"{number * step:,.0f}", "#333333", anchor="end")


def draw(root: ET.Element, top: float, series: list[tuple[float, float]], most: float, colour: str) -> None:
    """Draw a line in steps: what does not change the picture is left out."""
    corners: list[tuple[float, float]] = []
    for hour, value in series:
        point = (x(hour), round(top + PANEL * (1 - min(value, most) / most), 1))
        if corners and (point[1] == corners[-1][1] or (point[0] - corners[-1][0] < 0.3)) and hour < 24:
            continue
        corners += [(point[0], corners[-1][1]), point] if corners else [point]
    text = " ".join(f"{left:.1f},{y:.1f}" for left, y in corners)
    ET.SubElement(root, "polyline", points=text, fill="none", stroke=colour).set("stroke-width", "1.5")


def x(hour: float) -> float:
    """Return where an hour is."""
    return round(LEFT + (WIDTH - LEFT - 20) * hour / 24, 1)


def band(root: ET.Element, hours: tuple[float, float], top: float, height: float, colour: str) -> None:
    """Draw a box over a time."""
    begin, end = map(x, hours)
    width = max(1.0, round(end - begin, 1))
    ET.SubElement(root, "rect", x=f"{begin}", y=f"{top}", width=f"{width}", height=f"{height}", fill=colour)


def line(root: ET.Element, begin: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    """Draw a straight line."""
    (x1, y1), (x2, y2) = begin, end
    ET.SubElement(root, "line", x1=f"{x1}", y1=f"{y1:.1f}", x2=f"{x2}", y2=f"{y2:.1f}", stroke=colour)


def label(root: ET.Element, place: tuple[float, float], text: str, colour: str, *, anchor: str = "start") -> None:
    """Write a text."""
    left, y = place
    element = ET.SubElement(root, "text", x=f"{left}", y=f"{y:.1f}", fill=colour)
    element.set("text-anchor", anchor)
    element.text = text


def main() -> None:
    """Write the picture, or tell whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    text = picture(run())
    if not check:
        PICTURE.write_text(text)
    elif not PICTURE.exists() or PICTURE.read_text() != text:
        sys.exit(f"{PICTURE.name} is not up to date; run `make scaling-picture`")


if __name__ == "__main__":
    main()
