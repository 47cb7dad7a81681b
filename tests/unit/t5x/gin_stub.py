"""A stand-in for a training script, so that the rules of gin are tested without a model."""

import dataclasses

calls: list[dict] = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  width: int = 1
  path: str | None = None

  def __post_init__(self):
    if self.width < 0:
      raise ValueError(f'width is {self.width}; it must not be negative')


def train(*, config: Config, total_steps: int, model_dir: str | None = None) -> None:
  calls.append({'config': config, 'total_steps': total_steps, 'model_dir': model_dir})
