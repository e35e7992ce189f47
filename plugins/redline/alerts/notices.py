"""Notices: what befell the pipeline itself, for the people who run it and nobody else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from redline.alerts.message import Language, Message

Kind = Literal[
    "failed_gate", "failed_task", "undelivered", "late_run", "storm_asked", "storm_unanswered"
]

# Of one failure one notice, whichever of Airflow's processes tells it and how much it knows.
_FAILURES = ("failed_gate", "failed_task", "undelivered")


@dataclass(frozen=True)
class Notice:
    """Something that an operator should know.

    Attributes:
        title: what it is about, in a few words.
        what, where, todo: a line each; Redline's own words, never a row's values.
        platform: the marketplace that it concerns, where it is one.
        log_url: where Airflow shows more.
        happened_at: ISO, with its offset.
        map_index, try_number: of the task instance.
    """

    kind: Kind
    title: str
    what: str
    where: str
    todo: str
    run_id: str
    dag_id: str
    task_id: str
    platform: str | None
    log_url: str | None
    happened_at: str
    map_index: int = -1
    try_number: int = 0

    @property
    def notice_id(self) -> str:
        """A hash of what it means: told again it is the same, after clearing the task a new one."""
        kind = "failure" if self.kind in _FAILURES else self.kind
        parts = (kind, self.dag_id, self.run_id, self.task_id, self.map_index, self.try_number)
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


def notice_message(notice: Notice, language: Language) -> Message:
    """Put a notice into words; its title says that it is no merchant's alert."""
    words = _WORDS[language]
    run = f"{notice.dag_id}.{notice.task_id}" if notice.task_id else notice.dag_id
    parts = (
        (words["what"], notice.what),
        (words["where"], notice.where),
        (words["todo"], notice.todo),
        (words["platform"], notice.platform or ""),
        (words["run"], words["run of"].format(run=run, run_id=notice.run_id)),
    )
    return Message(
        title=_line(words["title"].format(kind=words[notice.kind], about=notice.title)),
        parts=tuple((label, _line(text)) for label, text in parts if text),
        severity="operations",
        evening=notice.happened_at[:10],
        link=notice.log_url,
        link_label=words["log"],
    )


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "title": "[Redline operations] {kind}: {about}",
        "failed_gate": "Gate failed",
        "failed_task": "Task failed",
        "undelivered": "Alerts not delivered",
        "late_run": "Marts late",
        "storm_asked": "Alerts wait for your answer",
        "storm_unanswered": "Nobody answered, alerts held",
        "what": "What happened",
        "where": "Where",
        "todo": "What to do",
        "platform": "Marketplace",
        "run": "Run",
        "run of": "{run}, run {run_id}",
        "log": "Open it in Airflow",
    },
    "zh": {
        "title": "「Redline 运维」{kind}：{about}",
        "failed_gate": "数据检查未通过",
        "failed_task": "任务失败",
        "undelivered": "预警未送达",
        "late_run": "数据发布延迟",
        "storm_asked": "预警等待您的确认",
        "storm_unanswered": "无人确认，预警已暂扣",
        "what": "发生了什么",
        "where": "位置",
        "todo": "如何处理",
        "platform": "平台",
        "run": "运行",
        "run of": "{run}，运行 {run_id}",
        "log": "在 Airflow 中查看",
    },
}
