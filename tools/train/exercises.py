"""Exercises in looking back, written into rows of text: passages that come again, and facts that are asked back.

Running text seldom needs what stands far behind; a model that is to use 32K tokens must have had reasons to.
"""

import random

import facts

REPEAT_SHARE, FACT_SHARE = 0.35, 0.25  # of the rows; the others stay as they are
SHORTEST_PASSAGE, LONGEST_PASSAGE = 12, 256
CELL = 64  # tokens of a place for a sentence; the longest has some 35
ROW_TOKENS_PER_FACT = 1024


def repeat_passages(row, chance):
    """row: i64 [tokens]. One to four passages of the first half come again in the second."""
    tokens, half = len(row), len(row) // 2
    for _ in range(chance.randint(1, 4)):
        length = chance.randint(SHORTEST_PASSAGE, min(LONGEST_PASSAGE, half))
        begin = chance.randint(0, half - length)
        again = chance.randint(half, tokens - length)
        row[again:again + length] = row[begin:begin + length].clone()


def state_and_ask(row, chance, sentences):
    """As many facts as there is room for are stated, each under a name of its own, and asked anywhere behind."""
    cells = list(range(1, len(row) // CELL))
    count = min(max(1, len(row) // ROW_TOKENS_PER_FACT), len(cells) // 2)
    chance.shuffle(cells)
    for i, name in enumerate(facts.draw_names(count, chance)):
        first, second = sorted(cells[2 * i:2 * i + 2])
        number = facts.draw_number(chance)
        put(row, first * CELL, sentences.encode(facts.statement(name, number)))
        put(row, second * CELL, sentences.encode(f"{facts.question(name)} {number}."))


def put(row, at, tokens):
    row[at:at + len(tokens)] = row.new_tensor(tokens)


def write(rows, seed, sentences):
    """rows: i64 [batch, tokens], on the CPU, changed where they are; `seed` decides all."""
    chance = random.Random(seed)
    for row in rows:
        kind = chance.random()
        if kind < REPEAT_SHARE:
            repeat_passages(row, chance)
        elif kind < REPEAT_SHARE + FACT_SHARE:
            state_and_ask(row, chance, sentences)
    return rows


def fact_rows(rows, depth, seed, sentences):
    """One fact in each row, `depth` of the room before the question at the row's very end; changes rows where they are.

    Returns where the answer's tokens begin and how many they are. REQUIRES: rows of 64 tokens or more.
    """
    chance = random.Random(seed)
    count = 0
    for row, name in zip(rows, facts.draw_names(len(rows), chance)):
        number = facts.draw_number(chance)
        answer = sentences.number(number)
        stated, asked = sentences.encode(facts.statement(name, number)), sentences.encode(facts.question(name)) + answer
        room = len(row) - 1 - len(stated) - len(asked)
        assert room >= 0 and count in (0, len(answer)), (len(row), room, count)
        put(row, 1 + int(room * (1 - depth)), stated)
        put(row, len(row) - len(asked), asked)
        count = len(answer)
    return len(rows[0]) - count, count
