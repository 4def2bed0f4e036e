"""The kinds of values that answers are made of, each with an example, of which the examples of answers are made."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta


def _text(example: str, **more: Any) -> Meta:
    return Meta(examples=[example], extra_json_schema=more or None)


Time = Annotated[str, _text("2026-02-05T14:30:00Z", format="date-time")]
Date = Annotated[str, _text("2026-02-05", format="date")]
Address = Annotated[str, _text("https://cdn.example.com/notes-1.2.3-setup.exe", format="uri-reference")]
Version = Annotated[str, _text("1.2.3")]
Id = Annotated[str, _text("notes")]
ChannelId = Annotated[str, _text("stable")]
BuildId = Annotated[str, _text("windows-x64")]
FileName = Annotated[str, _text("notes-1.2.3-setup.exe")]
Name = Annotated[str, _text("Notes")]
Text = Annotated[str, _text("A text")]
Markdown = Annotated[str, _text("## Fixed\n\n- The editor keeps its place.")]
Repository = Annotated[str, _text("octo-org/notes")]
KeyName = Annotated[str, _text("launcher")]
Model = Annotated[str, _text("openai/gpt-4")]
ProviderName = Annotated[str, _text("openai")]
RequestId = Annotated[str, _text("req_1f0c9d2b7a6e")]
Currency = Annotated[str, _text("USD")]
Count = Annotated[int, Meta(ge=0, examples=[42])]
Page = Annotated[int, Meta(ge=1, examples=[1])]
Size = Annotated[int, Meta(ge=0, examples=[48_234_496])]
Milliseconds = Annotated[float, Meta(ge=0, examples=[182.5])]
