"""Folders of arrays: whole or not there."""

import jax
import numpy as np
import optax
import pytest

from irlas_jax.training import checkpoint

TREE = {'params': {'x': np.arange(3.0), 'n': np.int32(4)}}


def test_a_checkpoint_comes_back_and_replaces_the_one_before(tmp_path):
  """Also where a save was interrupted: what it left is swept."""
  folder = tmp_path / 'a' / 'checkpoint'
  checkpoint.save(folder, {'params': {'x': np.zeros(3)}})
  (tmp_path / 'a' / 'checkpoint.new').mkdir()
  checkpoint.save(folder, TREE)
  found = checkpoint.load(folder)
  jax.tree.map(np.testing.assert_array_equal, found, TREE)
  # Arrays of a device would be looked for on one of its kind.
  assert isinstance(found['params']['x'], np.ndarray)
  assert [path.name for path in folder.parent.iterdir()] == ['checkpoint']


def test_the_structure_comes_back_too(tmp_path):
  """An optimiser's state is of named tuples, empty ones among them."""
  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1))
  state = jax.device_get(tx.init({'w': np.ones(2, np.float32)}))
  checkpoint.save(tmp_path / 'state', (state, ()))
  found = checkpoint.load(tmp_path / 'state', (state, ()))
  assert jax.tree.structure(found) == jax.tree.structure((state, ()))
  jax.tree.map(np.testing.assert_array_equal, found, (state, ()))


def test_between_two_renamings_the_old_one_is_found(tmp_path):
  """A process may be killed just there."""
  folder = tmp_path / 'checkpoint'
  assert not checkpoint.exists(folder)
  checkpoint.save(folder, TREE)
  folder.rename(tmp_path / 'checkpoint.old')
  (tmp_path / 'checkpoint.new').mkdir()
  assert checkpoint.exists(folder)
  jax.tree.map(np.testing.assert_array_equal, checkpoint.load(folder), TREE)
  checkpoint.save(folder, TREE)
  assert [path.name for path in tmp_path.iterdir()] == ['checkpoint']


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='nothing: no checkpoint'):
    checkpoint.load(tmp_path / 'nothing')
