"""The conditional random field: chains, paths, gradients, constraints."""

_CHAINS, _PATHS, _CRF = "taglm_core/nn/crf_chains.py", "taglm_core/nn/crf_paths.py", "taglm_core/nn/crf.py"
_TEST = "tests/nn/test_crf.py::"

MUTATIONS = [
    (
        "the backward chain reads transitions as the forward one",
        _CHAINS,
        "torch.stack((transitions, transitions.t()))",
        "torch.stack((transitions, transitions))",
        f"{_TEST}test_everything_equals_enumeration",
    ),
    (
        "transitions of the gold path have their axes swapped",
        _CHAINS,
        "transitions[path[:-1], path[1:]]",
        "transitions[path[1:], path[:-1]]",
        f"{_TEST}test_everything_equals_enumeration",
    ),
    (
        "sentences are reversed one token too far",
        _CHAINS,
        "tokens.lengths - 1 - time, time)",
        "(tokens.lengths - time) % len(time), time)",
        f"{_TEST}test_everything_equals_enumeration",
    ),
    (
        "end scores lie on the last column instead of the last token",
        _CHAINS,
        "potentials[tokens.lengths - 1, torch.arange(len(tokens.lengths), device=end.device)] += end",
        "potentials[-1] += end",
        f"{_TEST}test_everything_equals_enumeration",
    ),
    (
        "log Z is read at the last column instead of the last token",
        _CHAINS,
        "ends.gather(0, (tokens.lengths - 1).unsqueeze(0)).squeeze(0)",
        "ends[-1]",
        f"{_TEST}test_everything_equals_enumeration",
    ),
    (
        "the largest transition is taken off and not put back",
        _CHAINS,
        "    log_scales[1:] += top\n",
        "",
        f"{_TEST}test_everything_equals_enumeration",
    ),
    (
        "the gradient of transitions counts padding",
        _CRF,
        "d_transitions = pair_sums(left, right, transitions, weights, scaled=ctx.scaled)",
        "d_transitions = pair_sums(left, right, transitions, gradient.expand_as(weights), scaled=ctx.scaled)",
        f"{_TEST}test_gradcheck",
    ),
    (
        "the gradient does not subtract the gold transitions",
        _CRF,
        "            d_transitions.view(-1).index_add_(0, pairs, -weights[1:].reshape(-1))\n",
        "",
        f"{_TEST}test_gradcheck",
    ),
    (
        "the gradient of the loss is not weighted by that of each sentence",
        _CRF,
        "weights = gradient * present",
        "weights = torch.ones_like(gradient) * present",
        f"{_TEST}test_gradcheck",
    ),
    (
        "constraints are not applied to the last tag",
        _CRF,
        "_forbid(self.end, transitions[0], self.allowed_end)",
        "_forbid(self.end, transitions[0], None)",
        f"{_TEST}test_constraints",
    ),
    (
        "no path at all is a loss that is not a number",
        _CRF,
        "                chains.log_z.isneginf(), torch.inf\n",
        "                chains.log_z.isnan(), torch.inf\n",
        f"{_TEST}test_start_and_end_scores_may_forbid_every_path",
    ),
    (
        "Viterbi goes back from the last column instead of the last token",
        _PATHS,
        "    ends = tokens.lengths - 1\n",
        "    ends = torch.full_like(tokens.lengths, len(potentials) - 1)\n",
        f"{_TEST}test_everything_equals_enumeration",
    ),
    (
        "Viterbi follows transitions the wrong way back",
        _PATHS,
        "links.index_select(1, current)",
        "links.index_select(0, current).t()",
        f"{_TEST}test_everything_equals_enumeration",
    ),
    (
        "n best paths count padding",
        _PATHS,
        "torch.where(present.unsqueeze(-1), best, states)",
        "best",
        f"{_TEST}test_n_best_and_path_probabilities_equal_enumeration",
    ),
]
