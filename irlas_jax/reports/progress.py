"""Progress bars: of a search (best so far, evaluations), and of anything."""

import tqdm


class Bar:
  """A context manager; knows proposals and the records that answered them."""

  def __init__(self, shown: bool = True):
    self._shown = shown

  def __enter__(self):
    self._bar: tqdm.tqdm | None = None
    self._distinct: set[str] = set()
    self._best, self._trained = float('-inf'), 0
    return self

  def __exit__(self, *_):
    if self._bar is not None:
      self._bar.close()

  def start(self, total: int) -> None:
    """Told how many proposals there will be."""
    self._bar = tqdm.tqdm(
      total=total,
      unit='proposal',
      dynamic_ncols=True,
      disable=not self._shown,
    )
    self._bar.set_description('compiling')

  def update(self, trials) -> None:
    """Told of the trials of one iteration."""
    self._distinct.update(trial.key for trial in trials)
    self._best = max([self._best, *(trial.reward for trial in trials)])
    self._show().update(len(trials))

  def trained(self, count: int) -> None:
    """Told that so many children more were trained by this run."""
    self._trained += count
    self._show()

  def _show(self) -> tqdm.tqdm:
    assert self._bar is not None, 'start() comes first'
    self._bar.set_description('searching')
    self._bar.set_postfix(
      best=f'{self._best:.2f}',
      evaluated=len(self._distinct),
      trained=self._trained,
    )
    return self._bar


class Counter:
  """A context manager: a bar of things that are all alike."""

  def __init__(self, unit: str, shown: bool = True):
    self._unit, self._shown = unit, shown
    self._bar: tqdm.tqdm | None = None

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._bar is not None:
      self._bar.close()

  def start(self, total: int) -> None:
    """Told how many there will be."""
    self._bar = tqdm.tqdm(
      total=total,
      unit=self._unit,
      dynamic_ncols=True,
      disable=not self._shown,
    )

  def update(self, count: int) -> None:
    """Told that so many more are done."""
    assert self._bar is not None, 'start() comes first'
    self._bar.update(count)
