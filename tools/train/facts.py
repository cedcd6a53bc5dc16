"""Facts that a text states once and asks back far behind: what teaches a model to look back, and shows that it does.

A sentence is put together from the tokens of its words, so that a table of some fifty words does where there is no sentencepiece.
The table of the demo pair's tokenizer is demo_words.json; `python3 facts.py MODEL_DIR` prints one.
"""

import json
import os
import sys

PLACES = ("harbour garden castle lantern mountain river orchard library engine chapel market forest bridge tower meadow island "
          "station kitchen cellar window").split()
FRAME = "The secret number of the is What".split()
DIGITS = 6
WORDS_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "demo_words.json")


def name(first, second):
    return f"{PLACES[first]} {PLACES[second]}"


def statement(name, number):
    return f"The secret number of the {name} is {number}."


def question(name):
    """Ends where the number is to follow."""
    return f"What is the secret number of the {name}? The secret number of the {name} is"


def table_of(encode):
    """{word: tokens} by a tokenizer's `encode`."""
    table = {word: encode(word) for word in sorted(set(PLACES + FRAME))}
    space = encode("is")
    for mark in ".?":
        table[mark] = encode("is" + mark)[len(space):]
    whole = encode("is 0123456789")[len(space):]
    table["space"] = whole[:len(whole) - 10]
    for digit in range(10):
        table[str(digit)] = [whole[len(whole) - 10 + digit]]
    return table


class Facts:
    """Sentences as tokens."""

    def __init__(self, table=None):
        if table is None:
            with open(WORDS_FILE, encoding="utf-8") as file:
                table = json.load(file)
        self._table = table

    def encode(self, sentence):
        """Of a sentence made of the table's words, marks and numbers."""
        tokens = []
        for word in sentence.split():
            mark = word[-1] if word[-1] in ".?" else ""
            word = word.removesuffix(mark)
            if word.isdigit():
                tokens += self._table["space"]
                for digit in word:
                    tokens += self._table[digit]
            else:
                tokens += self._table[word]
            tokens += self._table[mark] if mark else []
        return tokens

    def number(self, number):
        """The tokens of a number behind a word."""
        return self.encode(str(number))


def draw_names(count, random):
    """As many different names; random: a random.Random."""
    return [name(*divmod(i, len(PLACES))) for i in random.sample(range(len(PLACES) ** 2), count)]


def draw_number(random):
    return random.randrange(10 ** (DIGITS - 1), 10 ** DIGITS)


if __name__ == "__main__":
    import corpus
    json.dump(table_of(corpus.tokenizer(sys.argv[1]).encode), sys.stdout, ensure_ascii=False, indent=0)
    print()
