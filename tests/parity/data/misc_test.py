"""Features back to pictures, what the viewer draws, masks and guidance in decoding, text tables."""

import jax.numpy as jnp
import numpy as np
import pytest

from t5x import text_table
from t5x.decoding import logits as logits_lib
from t5x.examples.unified_io import config, modality_specs
from t5x.examples.unified_io.data import visualization, vocabulary
from t5x.examples.unified_io.inference import guidance
from tests.parity import harness
from tests.parity.data import compare, raw

FOLDER = 'data/k_misc'


# ---- Pictures ------------------------------------------------------------------------------------
# Name of the result, prefix of its inputs, name of its stored samples, modality.
PLACED = (
  ('image', '', 'image', 'image'),
  ('history', 'h_', 'h_image', 'image_history'),
  ('audio', 'a_', 'audio', 'audio'),
)


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'features_to_pictures'))
def test_patches_become_the_pictures_of_the_original(path):
  with harness.case(path) as c:
    for name, prefix, stored, modality in PLACED:
      inputs = [f'{prefix}{field}' for field in ('patches', 'pos_ids', 'mask')]
      c.given(*inputs)
      arrays = [c.outputs[field] for field in inputs]
      frames = zip(*arrays, strict=True) if arrays[2].ndim == 2 else [arrays]
      spec = modality_specs.input_spec(modality)
      placed = [visualization.place(*frame, spec) for frame in frames]
      values, seen = (
        np.stack(parts) if arrays[2].ndim == 2 else parts[0]
        for parts in zip(*((one.seen_values(), one.seen) for one in placed), strict=True)
      )
      c.exact(f'{prefix}grid_mask', seen, c.outputs[f'{prefix}grid_mask'])
      compare.summary(c, name, stored, values, c.config[name], compare.tolerance(c, name))


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'visualise'))
def test_boxes_and_masks_are_drawn_as_in_the_original(path):
  with harness.case(path) as c:
    c.given('picture', 'patch_mask', 'boxes', 'box_color', 'mask_color', 'patch_size', 'edge_box')
    c.given('resized_input', 'mask_same_input')
    picture, mask = c.outputs['picture'], c.outputs['patch_mask']
    drawn = visualization.draw_boxes(picture, c.config['boxes'], tuple(c.config['box_color']))
    c.exact('drawn', drawn, c.outputs['drawn'])
    patch, color = c.config['patch_size'], tuple(c.config['mask_color'])
    masked = visualization.paint_masked(picture, mask, patch, color)
    c.exact('masked', masked, c.outputs['masked'])
    same = c.config['mask_same_input']
    flat = c.outputs[same['mask']]
    flat = flat.ravel() if same['flattened'] else flat
    again = visualization.paint_masked(picture, flat, patch, color)
    c.exact('mask_same', bool((again == masked).all()), c.config['mask_same'])
    try:
      visualization.draw_boxes(picture, [c.config['edge_box']])
      raises = False
    except IndexError:
      raises = True
    c.exact('edge_box_raises', raises, c.config['edge_box_raises'] is not None)
    large = c.config['resized_input']
    resized = visualization.shrink(np.zeros(large['size'], large['dtype']), large['target'])
    c.exact('resized_shape', list(resized.shape), c.config['resized_shape'])


# ---- Decoding ------------------------------------------------------------------------------------
@pytest.mark.parametrize('path', harness.cases(FOLDER, 'classifier_free'))
def test_guided_logits_are_those_of_the_original(path):
  with harness.case(path) as c:
    c.given('alpha', 'num_decodes', 'next_tokens_in', 'calls')
    tokens = jnp.asarray(c.config['next_tokens_in'])
    for name, call in c.config['calls'].items():
      c.given(call['of'])
      logits, fed = jnp.asarray(c.outputs[call['of']]), []

      def step(ids, cache, logits=logits, fed=fed):
        fed.append(ids)
        return logits, cache

      half, _ = logits_lib.guided(step, call['alpha'])(tokens[: len(tokens) // 2], None)
      both = np.concatenate([half, half])  # as in the original, whose halves are one batch
      compare.number(c, name, both, c.outputs[name])
      c.exact('next_tokens_out', np.asarray(fed[0]), c.config['next_tokens_out'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'location_select'))
def test_locations_are_preferred_where_they_are_in_the_original(path):
  with harness.case(path) as c:
    logits = jnp.asarray(c.outputs['logits'], jnp.float32)
    c.given('logits')
    first, count = config.RELEASED_BASE_PIECES, config.NUM_DETECTION_BINS
    probability = guidance.location_probability(logits, first, count)[:, 0]
    compare.number(c, 'location_probability', probability, c.config['location_probability'])
    others = np.r_[:first, first + count : logits.shape[1]]
    for name, row in c.config['rows'].items():
      c.given(f'rows/{name}/options')
      options = row['options']
      choose = guidance.prefer_locations(
        threshold=options['threshold'], require_one_box=options['require_one_box']
      )
      got = np.asarray(choose(logits, jnp.int32(options['step'])))
      blocked = (got[:, others] < guidance.PENALTY / 2).all(1)
      assert ((got < guidance.PENALTY / 2).any(1) == blocked).all()
      c.exact(f'rows/{name}/blocked', blocked.tolist(), row['blocked'])
      c.exact(f'rows/{name}/argmax', got.argmax(1).tolist(), row['argmax'])


@pytest.mark.parametrize('path', harness.cases(FOLDER, 'pose_mask'))
def test_poses_are_written_as_in_the_original(path, monkeypatch):
  with harness.case(path) as c:
    c.given('tokenizer')
    monkeypatch.setattr(config, 'LLAMA_TOKENIZER_PATH', raw.tokenizer(c))
    vocab = vocabulary.get_default_vocabulary()
    parts = {name: vocab.encode(name) for name in config.HUMAN_POSE_PART}
    assert list(parts) == list(c.config['parts'])
    c.exact('parts', parts, c.config['parts'])
    mask = guidance.pose_mask(
      list(parts.values()), vocab_size=vocab.vocab_size, first_location=vocab.num_base_pieces
    )
    allowed = [np.flatnonzero(~row) for row in mask]
    steps = [[int(ids[0]), int(ids[-1]), len(ids)] for ids in allowed]
    c.exact('steps', steps, c.config['steps'])
    written = logits_lib.mask_logits(jnp.asarray(mask), len(mask))(
      jnp.zeros((1, vocab.vocab_size)), jnp.int32(0)
    )
    np.testing.assert_array_equal(written[0], np.where(mask[0], np.float32(-1e10), 0))


# ---- Text ----------------------------------------------------------------------------------------
@pytest.mark.parametrize('path', harness.cases(FOLDER, 'text_tables'))
def test_tables_stand_as_in_the_original(path):
  with harness.case(path) as c:
    c.given('inputs')
    for name, given in c.config['inputs'].items():
      if isinstance(given, dict):
        c.exact(name, text_table.table(given['rows'], given['filler']), c.config[name])
      elif isinstance(c.config[name], str):
        c.exact(name, text_table.table(given), c.config[name])
      else:
        c.exact(name, text_table.transposed(given), c.config[name])
