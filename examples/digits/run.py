"""Handwritten digits: 64 encrypted images read by a private convolutional network."""

import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import blindproof
from blindproof.demo.training import Convolution, Schedule, SquareNetwork, one_hot

PLOT = Path(__file__).with_name("result.png")
SHAPE = (1, 8, 8)
INK = 16.0  # the darkest pixel
IMAGES = 64


def main() -> None:
    """Train, compile, classify encrypted images, draw them with their labels."""
    pixels, digits = load_digits(return_X_y=True)
    train, images, known, truth = train_test_split(pixels, digits, random_state=0, stratify=digits)
    images, truth = images[:IMAGES], truth[:IMAGES]

    # A small trainer for networks with squares for activations; a torch.nn.Module or an ONNX file
    # with such a network is compiled by the same call.
    front = Convolution(SHAPE, channels=8, size=3, padding=1)
    network = SquareNetwork((front.units, 10), front, seed=0)
    steps = Schedule(epochs=20, batch=64, rate=0.02, temperature=16.0, l1_bound=3.99)
    network.train(train / INK, one_hot(known, 10), steps)
    described = blindproof.NetworkModel(
        name="digits-cnn",
        version="1",
        purpose="reads one handwritten digit of 8 x 8 pixels",
        features=tuple(blindproof.Feature(f"pixel {k}", 0.0, INK, 0.0, INK) for k in range(64)),
        network=network.spec(),
        outputs=tuple(f"score of {digit}" for digit in range(10)),
        labels=tuple(str(digit) for digit in range(10)),
        link="argmax",
        integer_labels=True,
    )
    began = time.perf_counter()
    compiled = blindproof.compile(described, train, target=known)
    print(f"compiled in {time.perf_counter() - began:.1f} s: {compiled}")

    with blindproof.LocalServer() as server:
        model = server.serve(compiled)
        began = time.perf_counter()
        answer = model.answer(images)
        seconds = time.perf_counter() - began
    labels, result = answer.predictions, answer.result

    exact = np.array(compiled.simulate(images).labels, dtype=int)
    print(f"read: {' '.join(map(str, labels))}")
    print(f"images: {IMAGES}, right: {(labels == truth).sum()}")
    print(f"same label as the integer model in the clear: {(labels == exact).sum()} of {IMAGES}")
    print(
        f"soundness: {result.soundness_bits:.0f} bits, precision: {result.precision_bits:.0f} bits"
    )
    pixels_sent = result.evidence[0].ciphertexts.bodies.nbytes
    keys_sent = result.sent_bytes - pixels_sent
    print(f"sent: {pixels_sent / 1e6:.1f} MB of encrypted pixels, room for 4096 images")
    print(
        f"sent once: {keys_sent / 1e6:.1f} MB of public keys and the proof that they are well made"
    )
    print(f"proof: {len(result.proof) / 1e6:.1f} MB")
    print(f"encrypted, evaluated, proved, verified and decrypted in {seconds:.1f} s")

    figure, axes = plt.subplots(4, 16, figsize=(10, 3.2), layout="constrained")
    figure.suptitle(f"{IMAGES} encrypted images and their verified labels")
    for image, label, actual, axis in zip(images, labels, truth, axes.flat, strict=True):
        axis.imshow(image.reshape(8, 8), cmap="gray_r")
        axis.set_title(label, fontsize=9, pad=2, color="black" if label == actual else "red")
        axis.axis("off")
    figure.savefig(PLOT, dpi=80)
    print(f"plot: {PLOT.name}")


if __name__ == "__main__":
    main()
