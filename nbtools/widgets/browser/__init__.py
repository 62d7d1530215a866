"""The views without a kernel: a page gives each view a model object with anywidget's contract, and a worker in the page answers it.

engine   GPT-2 in JavaScript: byte-level BPE, PyTorch's random numbers, weights, the forward pass, a product in WebAssembly
kernel   answers the requests of the views, as the classes of `nbtools.widgets` do in a notebook
page     the host: it loads models, and makes views of their places in a page
"""
