"""Corpora from texts and tokens, what is wrong with them, and the exercises written into rows."""

import lzma
import random
import unittest

import torch

import config
import corpus
import exercises
import facts
from input_error import InputError
from testing import BOOK, TARGET, ScratchTest, needs_sentencepiece


class Files(ScratchTest):
    def setUp(self):
        super().setUp()
        self.shape = config.read(TARGET)

    def test_tokens_packed_or_not(self):
        tokens = [1, 4095, 256, 3, 2]
        path = self.write_tokens("a.u16", tokens)
        self.assertEqual(corpus.read(path, TARGET, self.shape).tolist(), tokens)
        with open(path, "rb") as file:
            packed = self.write("a.u16.xz", lzma.compress(file.read()))
        self.assertEqual(corpus.read(packed, TARGET, self.shape).tolist(), tokens)

    def test_what_is_wrong_is_named(self):
        for name, data, reason in (("odd.u16", b"abc", "has 3 bytes"), ("none.u16", b"", "is empty"),
                                   ("far.u16", b"\x00\x10", "has token 4096, the target's vocabulary ends at 4095"),
                                   ("cut.u16.xz", lzma.compress(bytes(1000))[:40], "no whole xz file"),
                                   ("latin", b"caf\xe9", "is not UTF-8 at byte 3")):
            with self.assertRaisesRegex(InputError, reason):
                corpus.read(self.write(name, data), TARGET, self.shape)
        with self.assertRaisesRegex(InputError, "nowhere: No such file"):
            corpus.read(self.path("nowhere"), TARGET, self.shape)

    @needs_sentencepiece
    def test_a_text_begins_with_bos_and_ends_with_eos(self):
        tokens = corpus.read(self.write("text", "Hello, world!".encode()), TARGET, self.shape)
        self.assertEqual(tokens.tolist(), [1, 429, 288, 4010, 4025, 924, 4045, 2])  # as in tests/data/demo/goldens.json


class Rows(unittest.TestCase):
    def test_they_come_from_all_files_and_never_from_what_is_held_out(self):
        files = [torch.arange(1000).int(), torch.arange(2000, 4000).int(), torch.arange(5).int()]
        text = corpus.Corpus(files)
        self.assertEqual(text.held_out.tolist(), list(range(950, 1000)) + list(range(3900, 4000)))
        rows = text.rows(500, 40, torch.Generator().manual_seed(1))
        self.assertEqual(rows.shape, (500, 40))
        self.assertTrue(bool((rows.diff(dim=1) == 1).all()))
        self.assertFalse(set(rows.flatten().tolist()) & set(text.held_out.tolist()))
        self.assertEqual((int(rows.min()) < 1000, int(rows.max()) > 2000), (True, True))
        with self.assertRaisesRegex(InputError, "too short"):
            text.rows(1, 1950, torch.Generator())


class Exercises(unittest.TestCase):
    @needs_sentencepiece
    def test_facts_are_put_together_as_sentencepiece_would(self):
        processor, sentences, chance = corpus.tokenizer(TARGET), facts.Facts(), random.Random(1)
        for name in facts.draw_names(400, chance):
            number = facts.draw_number(chance)
            for sentence in (facts.statement(name, number), facts.question(name), f"{facts.question(name)} {number}."):
                self.assertEqual(sentences.encode(sentence), processor.encode(sentence))
        self.assertEqual(facts.Facts(facts.table_of(processor.encode)).encode(sentence), sentences.encode(sentence))

    def test_each_fact_is_stated_before_it_is_asked_and_has_a_name_of_its_own(self):
        sentences = facts.Facts()
        row = torch.zeros(16384, dtype=torch.long)
        exercises.state_and_ask(row, random.Random(2), sentences)
        said, asked = {}, {}
        begin, question = sentences.encode("The secret number of the"), sentences.encode("What is the")
        for at in range(1, len(row) // exercises.CELL):
            cell = [token for token in row[at * exercises.CELL:(at + 1) * exercises.CELL].tolist() if token]
            if cell[:len(begin)] == begin:
                said[tuple(cell[len(begin):])] = at
            elif cell[:len(question)] == question:
                asked[tuple(cell[-len(cell[len(question):]):])] = at
        self.assertEqual((len(said), len(asked)), (16, 16))
        for fact, at in said.items():
            answers = [place for tokens, place in asked.items() if tokens[-len(fact):] == fact]
            self.assertEqual(len(answers), 1)
            self.assertGreater(answers[0], at)

    def test_passages_come_again_and_all_follows_from_the_seed(self):
        def rows():
            return torch.randint(5, 4000, (64, 512), generator=torch.Generator().manual_seed(3))
        sentences = facts.Facts()
        first = exercises.write(rows(), 4, sentences)
        self.assertTrue(torch.equal(first, exercises.write(rows(), 4, sentences)))
        self.assertFalse(torch.equal(first, exercises.write(rows(), 5, sentences)))
        changed = (first != rows()).any(1).float().mean()
        self.assertGreater(float(changed), 0.4)
        self.assertLess(float(changed), 0.8)
        row = torch.arange(512)
        exercises.repeat_passages(row, random.Random(1))
        self.assertLess(len(set(row.tolist())), 512 - exercises.SHORTEST_PASSAGE + 1)
        self.assertEqual(row[:256].tolist(), list(range(256)))

    def test_a_fact_s_answer_ends_its_row(self):
        rows = torch.zeros(3, 400, dtype=torch.long)
        begin, count = exercises.fact_rows(rows, 0.9, 1, facts.Facts())
        self.assertEqual(begin + count, 400)
        answer = rows[0, begin:].tolist()
        text = rows[0, :begin].tolist()
        self.assertIn(answer, [text[i:i + count] for i in range(150)])


if __name__ == "__main__":
    unittest.main()
