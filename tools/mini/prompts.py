"""What the teacher is asked to write: everyday things in modern, plain English, but no film and no review of one."""

from __future__ import annotations

import random

# A text that begins with one of these, or with nothing, is continued as the model likes.
OPENINGS = (
    "", "", "I", "I was", "I have", "I think", "I used to", "I went", "I bought", "I don't", "I really",
    "I had never", "My", "My wife and I", "My brother", "My mother", "My friend", "We", "We were", "We stayed", "When I", "When we",
    "When my", "If you", "If I", "It was", "It is", "It's", "It's not", "There is", "There was", "There are", "This is", "This was",
    "That was", "The", "The first", "The best", "The worst", "The problem", "The people", "The story", "A few", "A friend", "At first",
    "After", "As a child", "Although", "But", "Even", "For years", "He", "He was", "She", "She was", "They", "You", "You can", "What",
    "Why", "How", "One of", "One day", "Last year", "Last night", "Yesterday", "Today", "In my", "In the", "On the", "Some", "Most",
    "Not", "Now", "Once", "Since", "So", "Sometimes", "Then", "To be honest", "Unfortunately", "While", "Without", "Nobody", "Everyone",
    "Every", "People", "Our", "Their", "I love", "I loved", "I hate", "I hated", "I liked", "I didn't like", "I was disappointed",
    "I was so excited", "I was surprised", "I was bored", "I have to say", "I have to admit", "I must say", "I would recommend",
    "I would not recommend", "I expected more", "I can't believe", "I don't understand why", "I wanted to like", "I felt sorry for",
    "I laughed", "I read this book", "I read", "I listened to", "I ordered", "I tried", "I stayed at", "I visited", "I grew up",
    "I remember", "I wish", "I know", "I guess", "This book", "This book is", "This novel", "This story", "This album", "This song",
    "This game", "This place", "This restaurant", "This hotel", "This is one of the best", "This is one of the worst",
    "This is a great", "This is a terrible", "This is not", "The food was", "The service was", "The room was", "The music",
    "The author", "The characters", "The main character", "The ending", "The only good thing", "The only problem", "Don't waste your",
    "What a waste of", "If you like", "If you are looking for", "If you want", "A great", "A terrible", "Very", "Boring", "Great",
    "Not bad", "Not as good as", "Better than", "Worth", "Overall", "In the end", "In short", "On the other hand", "Of course",
    "Anyway", "Maybe", "It all began", "It starts", "It could have been", "It made me", "It took me", "It has", "He is", "She is",
    "His", "Her", "Two years ago", "Ten years later", "The old man", "The girl",
)  # fmt: skip

THINGS = (
    "a restaurant", "a café", "a pizza place", "a bakery", "a hotel", "a hostel", "a holiday flat", "a campsite", "a beach holiday",
    "a weekend in a city", "a long train journey", "a flight that was late", "a bus ride", "a road trip", "a cruise", "a museum",
    "a zoo", "an art exhibition", "a theme park", "a concert", "a rock band", "an album", "a song", "a piano teacher",
    "a school orchestra", "a novel", "a detective story", "a fantasy book", "a biography", "a comic book", "a cookbook",
    "a children's book", "a poem", "a book that everybody praised", "a book that disappointed you", "a book you could not put down",
    "a sequel to a favourite novel", "a library", "a bookshop", "a pair of shoes", "a winter coat", "a backpack", "a suitcase",
    "a wedding dress", "a cheap watch", "a mattress", "an office chair", "a sofa", "a lamp", "a kitchen knife", "a coffee machine",
    "a toaster", "a vacuum cleaner", "a washing machine", "a bicycle", "an old car", "a used car", "a lawn mower", "a tent", "a camera",
    "a phone", "a laptop", "a printer that never worked", "headphones", "a video game", "a board game", "a chess club", "a card game",
    "a jigsaw puzzle", "a toy", "a garden", "a vegetable patch", "a house plant", "a dog", "a cat", "a parrot", "a horse", "a vet",
    "a neighbour", "a landlord", "a flatmate", "a new house", "a small flat", "moving to another town", "a noisy street", "a builder",
    "a plumber", "a painter", "a barber", "a dentist", "a doctor's visit", "a hospital stay", "a broken arm", "a cold", "a gym",
    "a yoga class", "a swimming pool", "a running race", "a football match", "a tennis lesson", "a skiing trip",
    "a hike in the mountains", "a walk in the woods", "a fishing trip", "a sailing lesson", "a snowstorm", "a heat wave",
    "a storm at night", "a power cut", "a first day at work", "a boss", "a colleague", "a job interview", "a boring meeting",
    "losing a job", "a school play", "a teacher", "an exam", "a university course", "a language class", "a dance class",
    "a cooking class", "a birthday party", "a wedding", "a funeral", "a family dinner", "a picnic", "a barbecue",
    "a Christmas with relatives", "a grandmother", "a grandfather", "an uncle with stories", "a little sister", "a son", "a daughter",
    "a best friend", "an old friend", "a blind date", "a quarrel", "an apology", "a lie", "a secret", "a lost wallet",
    "a stolen bicycle", "a wrong number", "a stranger on a train", "a ghost story told by a friend", "a strange dream",
    "a childhood fear", "a magic show", "a circus", "a comedian on a small stage", "a theatre play", "an opera", "a musical",
    "a street musician", "a radio programme", "a podcast", "a newspaper article", "a website", "an online shop",
    "a delivery that never came", "a refund", "a supermarket", "a farmers' market", "a flea market", "a charity shop", "a haircut",
    "a perfume", "a chocolate cake", "a bad sandwich", "a family recipe", "a cup of tea", "a pub", "a wine", "a birthday present",
    "a diary", "a photograph", "a letter", "a tattoo",
)  # fmt: skip

# Half of the texts praise or complain, as opinions do; the rest tell.
ANGLES = (
    "Say why you loved it.", "Say why you hated it.", "Say what was good and what was bad.", "You were disappointed. Explain why.",
    "You expected little and were surprised.", "You would not recommend it to anyone.", "You would recommend it to everyone.",
    "It was a complete waste of time and money.", "It was one of the best you ever had.", "It was boring. Complain about it.",
    "It was funny. Tell why.", "Compare it with another one.", "Say who would like it and who would not.",
    "It was better than people say.", "It is overrated. Say why.", "Tell what happened, from the beginning to the end.",
    "Tell it like a story.", "Remember it from long ago.", "Something went wrong. Tell it.", "Describe the people in it.",
    "Describe what it looked and sounded like.", "Say what you learned from it.", "Say how you felt, and why.",
    "Give your honest opinion.", "Tell one small detail that you still remember.", "Begin in the middle.",
)  # fmt: skip

STYLES = (
    "Write in plain, everyday English.", "Write as if talking to a friend.", "Write as in an email to your sister.",
    "Write as in a diary.", "Write as in an online forum.", "Use short sentences.", "Use long sentences.", "Be blunt.", "Be warm.",
    "Be sarcastic.", "Be calm and fair.", "Write a little carelessly, as people do online.", "Write without a title.", "Be specific.",
    "Do not begin with 'I recently'.", "Do not begin with 'I'.", "Start with a complaint.", "Start with the conclusion.",
    "Write about eighty words.", "Write two paragraphs.",
)  # fmt: skip


def request(draws: random.Random) -> str:
    """One of several hundred thousand requests for a short piece in the first person."""
    thing, angle, style = draws.choice(THINGS), draws.choice(ANGLES), draws.choice(STYLES)
    form = draws.choice(("Write a short text in the first person about", "Write one paragraph in the first person about", "Write about"))
    return f"{form} {thing}. {angle} {style}"
