import numpy as np
import pytest
import torch

from nbtools.data import Tokens, pack, tokenize
from nbtools.errors import InputError
from tests.small_models import mini, tiny

TEXTS = ["A good film.", "Bad, slow and far too long for what it has to say about the sea.", "Seen it twice! " * 12, "Fine."]


def test_ids_equal_the_tokenizers_and_are_cached(monkeypatch, tmp_path):
    monkeypatch.setenv("NBTOOLS_CACHE", str(tmp_path))
    lm = mini()
    first = tokenize(TEXTS, lm)
    assert [ids.tolist() for ids in first] == [lm.tokenizer(text)["input_ids"] for text in TEXTS]
    folders = list((tmp_path / "tokens").iterdir())
    assert len(folders) == 1
    again = tokenize(TEXTS, lm)
    assert np.array_equal(first.ids, again.ids) and isinstance(again.ids, np.memmap)
    tokenize([*TEXTS[:3], "Fine!"], lm)
    assert len(list((tmp_path / "tokens").iterdir())) == 2


def test_texts_split_at_different_characters_are_not_confused():
    lm = mini()
    assert len(tokenize(["ab", "c"], lm)) == 2
    assert tokenize(["ab", "c"], lm)[0].tolist() != tokenize(["a", "bc"], lm)[0].tolist()


def test_tokens_whose_starts_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="starts"):
        Tokens(np.zeros(3, np.int32), np.array([0, 2]))


def test_a_block_holds_every_token_in_order_and_no_padding():
    lm = mini()
    packed = pack(TEXTS, lm, 16)
    stream = [token for text in TEXTS for token in [lm.document_id, *lm.tokenizer(text)["input_ids"]]]
    assert packed.input_ids.ravel().tolist() == stream[: len(stream) // 16 * 16]
    counts = packed.counts
    assert counts["tokens"] == len(stream) == len(packed) * 16 + counts["left_over"]
    assert packed[0]["labels"][1:].equal(packed[0]["input_ids"][1:])
    assert packed[0]["labels"][0] == -100


def test_positions_restart_at_each_document_and_each_block():
    packed = pack(TEXTS, mini(), 16)
    for ids, positions, documents in zip(packed.input_ids, packed.position_ids, packed.document_ids, strict=True):
        assert positions[0] == 0
        for at in range(1, 16):
            begins = documents[at] != documents[at - 1]
            assert positions[at] == (0 if begins else positions[at - 1] + 1)
            assert (ids[at] == 0) == begins


def test_documents_cut_by_a_block_edge_are_counted():
    lm = mini()
    lengths = [len(lm.tokenizer(text)["input_ids"]) + 1 for text in TEXTS]
    packed = pack(TEXTS, lm, 16)
    used = len(packed) * 16
    ends = np.cumsum(lengths)
    spans = [(end - length, min(end, used)) for end, length in zip(ends, lengths, strict=True) if end - length < used]
    cut = [span for span in spans if span[0] // 16 != (span[1] - 1) // 16]
    assert packed.counts["cut_reviews"] == len(cut) > 0
    assert packed.counts["tokens_after_cut"] == sum(end - (start // 16 + 1) * 16 for start, end in cut)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_packed_document_has_the_same_logits_as_alone(kind):
    """transformers separates packed documents only with restarting positions, without a cache and without an attention mask."""
    lm = tiny(kind)
    packed = pack(TEXTS, lm, 48)
    row = {name: value[None] for name, value in packed[0].items() if name != "labels"}
    documents = packed.document_ids[0]
    with torch.inference_mode():
        together = lm.model(**row, use_cache=False).logits[0]
        for document in np.unique(documents):
            where = np.flatnonzero(documents == document)
            alone = lm.model(input_ids=row["input_ids"][:, where], use_cache=False).logits[0]
            assert torch.allclose(together[where], alone, atol=1e-4)
        with_mask = lm.model(**row, attention_mask=torch.ones_like(row["input_ids"]), use_cache=False).logits[0]
    last = np.flatnonzero(documents == documents[-1])
    assert not torch.allclose(with_mask[last], together[last], atol=1e-2)  # with an all-ones mask, documents attend to each other


def test_the_loss_of_a_block_is_the_mean_over_its_documents_alone():
    lm = tiny()
    packed = pack(TEXTS, lm, 48)
    row = {name: value[None] for name, value in packed[0].items()}
    with torch.inference_mode():
        loss = lm.model(**row, use_cache=False).loss
    total, count, ids = 0.0, 0, row["input_ids"]
    documents = torch.from_numpy(packed.document_ids[0])
    for document in documents.unique():
        where = (documents == document).nonzero().flatten()
        wanted = ids[0, where + 1] if where[-1] < 47 else ids[0, where[1:]]
        with torch.inference_mode():
            logits = lm.model(input_ids=ids[:, where], use_cache=False).logits[0, : len(wanted)]
        total += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item()
        count += len(wanted)
    assert count == 47
    assert loss.item() == pytest.approx(total / count, rel=1e-5)


def test_the_last_word_of_a_document_learns_to_predict_end_of_text():
    packed = pack(TEXTS, mini(), 16)
    ids, positions = packed.input_ids.ravel(), packed.position_ids.ravel()
    begins = np.flatnonzero((ids == 0) & (positions == 0) & (np.arange(len(ids)) % 16 != 0))
    assert len(begins) >= 2
    assert all(packed[at // 16]["labels"][at % 16] == mini().document_id for at in begins)


def test_blocks_longer_than_the_context_and_too_few_texts_are_refused():
    with pytest.raises(InputError, match="block_size is 4096"):
        pack(TEXTS, mini(), 4096)
    with pytest.raises(InputError, match="less than a block"):
        pack(["Short."], mini(), 512)
