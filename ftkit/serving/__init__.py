"""An exported model behind HTTP: what it takes, what it answers, and what it refuses.

Nothing here imports torch or transformers. A request goes through the files in this order: `border`
(who may ask, and how large a body is), `asked` (what it asks), `rows` (limits of pixels and
tokens), `batcher` (the queue, and one batch of all that wait), `told` (the answer's shape).
"""
