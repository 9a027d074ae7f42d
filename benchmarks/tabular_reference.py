"""Searches of NAS-Bench-201's cells as plain Python loops, one seed at a time.

What one would write without a compiler: the table is a dict, all else lists and
small NumPy arrays, and no line is shared with the library. They are the same
algorithms as `irlas_jax.searchers`, so they are what those are timed against,
and checked against.

Every search is a function (rng, table, num_evaluations, its own settings) ->
its trace, what was evaluated and what it was told, in order.
"""

import collections
import math
import random
from collections.abc import Mapping

import numpy as np

STEPS, ACTIONS = 6, 5

Actions = tuple[int, ...]
Table = Mapping[Actions, float]
Trace = list[tuple[Actions, float]]

# Block-QNN's exploration: epsilon, and for how many iterations.
_SCHEDULE = (
  *((1.0, 95), (0.9, 7), (0.8, 7), (0.7, 7), (0.6, 10)),
  *((0.5, 10), (0.4, 10), (0.3, 10), (0.2, 10)),
)
_LAST_EPSILON = 0.1


def random_search(
  rng: random.Random, table: Table, num_evaluations: int
) -> Trace:
  """Draws every cell anew."""
  trace = []
  for _ in range(num_evaluations):
    actions = _random_cell(rng)
    trace.append((actions, table[actions]))
  return trace


def evolution(
  rng: random.Random,
  table: Table,
  num_evaluations: int,
  *,
  population_size: int,
  sample_size: int,
) -> Trace:
  """Regularized evolution: a tournament, one mutation, death by age."""
  population: collections.deque = collections.deque(maxlen=population_size)
  trace = []
  for _ in range(num_evaluations):
    if len(population) < population_size:
      actions = _random_cell(rng)
    else:
      drawn = rng.choices(population, k=sample_size)
      actions = _mutate(rng, max(drawn, key=lambda member: member[1])[0])
    scored = actions, table[actions]
    population.append(scored)
    trace.append(scored)
  return trace


def local_search(
  rng: random.Random, table: Table, num_evaluations: int
) -> Trace:
  """Moves to the best neighbour, and begins anew where none is better."""
  trace: Trace = []
  while len(trace) < num_evaluations:
    current = _random_cell(rng)
    value = table[current]
    trace.append((current, value))
    climbs = True
    while climbs:
      near = [(cell, table[cell]) for cell in _neighbours(current)]
      rng.shuffle(near)
      trace += near
      best, best_value = max(near, key=lambda member: member[1])
      climbs = best_value > value and len(trace) < num_evaluations
      current, value = best, best_value
  return trace[:num_evaluations]


def reinforce(
  rng: np.random.Generator,
  table: Table,
  num_evaluations: int,
  *,
  learning_rate: float,
  baseline_decay: float,
) -> Trace:
  """A softmax a step, one cell an update, Adam.

  The baseline is the debiased moving average of the rewards before; the first
  reward is its own.
  """
  steps = np.arange(STEPS)
  logits, mean, square = np.zeros((3, STEPS, ACTIONS))
  average = 0.0
  trace = []
  for count in range(num_evaluations):
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    draws = rng.random(STEPS)
    chosen = (probs.cumsum(axis=1) > draws[:, None]).argmax(axis=1)
    actions = tuple(chosen.tolist())
    reward = table[actions]
    trace.append((actions, reward))

    baseline = average / (1 - baseline_decay**count) if count else reward
    average = baseline_decay * average + (1 - baseline_decay) * reward
    # Of -(reward - baseline) log pi: the softmax less what was chosen.
    gradient = probs
    gradient[steps, chosen] -= 1
    gradient *= reward - baseline
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient**2
    scale = np.sqrt(square / (1 - 0.999 ** (count + 1))) + 1e-8
    logits -= learning_rate * mean / (1 - 0.9 ** (count + 1)) / scale
  return trace


def q_learning(
  rng: random.Random,
  table: Table,
  num_evaluations: int,
  *,
  batch: int,
  epsilon_scale: float,
  step_size: float,
  replay_size: int,
  replay_updates: int,
) -> Trace:
  """Tabular Q-learning with replay; each step gets its share of the reward.

  Whole batches: up to batch - 1 evaluations more than asked for.
  """
  # By step and previous action.
  values = [[[0.0] * ACTIONS for _ in range(ACTIONS)] for _ in range(STEPS)]
  memory: collections.deque = collections.deque(maxlen=replay_size)
  trace: Trace = []
  for iteration in range(math.ceil(num_evaluations / batch)):
    epsilon = _epsilon(iteration / epsilon_scale)
    cells = [_epsilon_greedy(rng, values, epsilon) for _ in range(batch)]
    new = [(actions, table[actions]) for actions in cells]
    trace += new
    memory += new
    for actions, reward in new + rng.choices(memory, k=replay_updates):
      _learn(values, actions, reward, step_size)
  return trace


def _random_cell(rng) -> Actions:
  return tuple(rng.choices(range(ACTIONS), k=STEPS))


def _mutate(rng, actions) -> Actions:
  """One step, another action."""
  changed = list(actions)
  site = rng.randrange(STEPS)
  changed[site] = (changed[site] + rng.randrange(1, ACTIONS)) % ACTIONS
  return tuple(changed)


def _neighbours(actions) -> list[Actions]:
  return [
    (*actions[:site], action, *actions[site + 1 :])
    for site in range(STEPS)
    for action in range(ACTIONS)
    if action != actions[site]
  ]


def _epsilon(iteration: float) -> float:
  """Of an iteration of Block-QNN's 178."""
  for epsilon, duration in _SCHEDULE:
    iteration -= duration
    if iteration < 0:
      return epsilon
  return _LAST_EPSILON


def _epsilon_greedy(rng, values, epsilon) -> Actions:
  actions: list[int] = []
  for t in range(STEPS):
    row = values[t][actions[-1] if t else 0]
    if rng.random() < epsilon:
      actions.append(rng.randrange(ACTIONS))
    else:
      best = max(row)
      actions.append(rng.choice([a for a in range(ACTIONS) if row[a] == best]))
  return tuple(actions)


def _learn(values, actions, reward, step_size) -> None:
  """From the last step to the first; each sees what the next has become."""
  best_next = 0.0
  for t in reversed(range(STEPS)):
    row = values[t][actions[t - 1] if t else 0]
    action = actions[t]
    row[action] += step_size * (reward / STEPS + best_next - row[action])
    best_next = max(row)
