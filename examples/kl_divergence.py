"""A KL divergence in bfloat16: the closer training comes, the more its gradient is noise. Found, explained, cured."""

import jax
import jax.numpy as jnp

import precjax


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def divergence(student, teacher, backbone, x):
    """KL divergence of two heads on one frozen backbone."""
    with jax.named_scope("backbone"):
        for weights in backbone:
            x = jnp.tanh(x @ weights)
    with jax.named_scope("heads"):
        logits, wanted = x @ student, x @ teacher
    with jax.named_scope("divergence"):
        p, log_p, log_q = jax.nn.softmax(wanted), jax.nn.log_softmax(wanted), jax.nn.log_softmax(logits)
        return jnp.mean(jnp.sum(p * (log_p - log_q), axis=-1))


gradient = jax.grad(divergence)


def narrow(*arguments):
    """The gradient, all of it in bfloat16."""
    return gradient(*jax.tree.map(lambda a: a.astype(jnp.bfloat16), arguments)).astype(jnp.float32)


def distance(a, b):
    return float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))


def training(arguments, steps):
    """The student after so many steps, and so on; in float32."""
    student, *rest = arguments
    step = jax.jit(lambda s: s - 4 * gradient(s, *rest))
    for _ in range(steps):
        student = step(student)
    return (student, *rest)


def main(width=64, batch=64, stages=3, steps=20):
    """Trains; says how wrong the gradient is in bfloat16, and in the formats that `advise` chooses in the end."""
    teacher, backbone = normal(0, width, 10) / width**0.5, [normal(i, width, width) / width**0.5 for i in (1, 2)]
    arguments = (teacher + normal(3, width, 10) / width**0.5, teacher, backbone, normal(4, batch, width))
    states = [arguments := training(arguments, steps if stage else 0) for stage in range(stages)]

    try:
        precjax.guard(narrow, min_bits=2)(*states[-1])
    except precjax.PrecisionError as error:
        print("guard:", error)
    print(precjax.report(narrow)(*states[-1]))
    advice = precjax.advise(gradient, target=4)(*states[-1])
    print(advice)
    for stage, state in enumerate(states):
        errors = [distance(f(*state), gradient(*state)) for f in (narrow, jax.jit(advice.apply))]
        shown = f"error in bfloat16 {errors[0]:.1%}, as advised {errors[1]:.1%}"
        print(f"step {stage * steps:3}: divergence {divergence(*state):.1e}, {shown}")


if __name__ == "__main__":
    main()
