"""A few cases of every kernel on Numba's own simulator, which has to be asked for before Numba is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cuda_device import factories

#: Tests of the emulator's.
CASES = (
    "test_cuda.py::test_direct[n1c5h6w7-o9k3s1p1-f32-bias-relu-integers]",
    "test_cuda.py::test_direct[n1c5h6w7-o6k3s1p1-f16-bias-relu-integers]",
    "test_cuda.py::test_depthwise[n1c3h10w9-o6k3s2p1g3-f32-residual-silu-integers]",
    "test_cuda.py::test_implicit_gemm_in_small_tiles[n3c9h5w4-o17k1s1p0-f32-bias-residual-relu6]",
    "test_cuda.py::test_float16_implicit_gemm[n1c5h6w7-o6k3s1p1-f16-bias-relu-integers]",
    "test_cuda.py::test_borders[direct-n1c3h6w7-o5k3s1p1-f32-reflect-bias-relu]",
    "test_cuda_grad.py::test_gradients_over_other_borders[direct-circular]",
    "test_cuda.py::test_winograd[n1c3h6w7-o5k3s1p1-f32-bias-relu-winograd-f4x3]",
    "test_cuda.py::test_winograd[n2c4h7w5-o6k3s1p2g2-f64-bias-residual-tanh-winograd-f2x3]",
    "test_cuda.py::test_pools[max_pool-n2c3h7w9-k2s2p0-f32-integers]",
    "test_cuda.py::test_pools[avg_pool-n1c2h8w9-k3s2p1-f32-ceil-without_pad-normal]",
    "test_cuda.py::test_gradient_of_maxima[n1c2h8w9-k3s2p1-f32-ceil-indices]",
    "test_cuda.py::test_gradient_of_averages[n1c3h6w5-k3x2s1p1x0-f64]",
    "test_cuda.py::test_unpooling[2]",
    "test_cuda_grad.py::test_transposed[conv_transpose2d-n2c3h4w3-o5k3x2s2x3p1x0d1x2+1x0-f32-bias-relu-integers]",
    "test_cuda_grad.py::test_weights[conv2d-grad-w-n2c3h6w5-o4k3x2s2x1p1x0-f32-integers]",
    "test_cuda_fft.py::test_convolutions[n1c4w40-o6k9s2p4d2-f32-elu]",
    "test_cuda_fft.py::test_every_length_of_transform[1x1x64]",
    "test_cuda_fft.py::test_convolutions_by_a_library[nvmath-n1c2h2w2-o1k3s1p5-f32-bias]",
    "test_cuda_roi.py::test_boxes[roi_align-n2c3h9w11-k9to3x2-x0.5-r2-f32-forward-exact]",
    "test_cuda_roi.py::test_boxes[ps_roi_align-n2c12h7w9-k9to2x3-x0.25-r2-f32-gradient-exact]",
    "test_cuda_roi.py::test_boxes[roi_pool-n1c2h6w6-k9to3-x1.0-f16-gradient-exact]",
    "test_cuda_sample.py::test_maps_at_places[grid_sample-n2c9h1w4-at6x2-bilinear-zeros-f32-align_corners-integers]",
    "test_cuda_norm.py::test_normalisation[batch_norm-2x3x5x4-f32-channels_last-train-weight-bias]",
    "test_cuda_norm.py::test_normalisation[batch_norm-grad-x-2x3x4x5-f32-grad-infer-weight-bias]",
    "test_cuda_sample.py::test_maps_at_places[grid_sample-grad-grid-n2c9h3w2-at2x9-bilinear-zeros-f16-align_corners-integers]",
    "test_cuda_sample.py::test_maps_at_places[grid_sample-grad-x-n2c3h3w2-at2x9-bilinear-zeros-f32-integers]",
    "test_cuda_sample.py::test_resizing[n2c3h5w7-to8x3-f32-forward]",
    "test_cuda_roi.py::test_boxes[roi_align-n2c2h7w9-k9to2-x0.5-r2-f32-max_interpolated-gradient-exact]",
    "test_cuda_norm.py::test_gradients_through_an_activation",
    "test_cuda_norms.py::test_norms[3.0-gradient-integers]",
    "test_cuda_norms.py::test_responses[1x6x3x4-f64-size4-alpha=1.0-beta=0.5-k=2.0-gradient]",
    "test_cuda_norms.py::test_responses[2x3x2x2x2-f32-size40-alpha=0.2-beta=0.25-k=1.0-forward]",
    "test_cuda_moves.py::test_windows_as_columns[n1c2h6w5-o1k3x2s2x1p1x0d1x2-f64-unfold]",
    "test_cuda_moves.py::test_windows_as_columns[n1c4h5w4-o1k2s2p0-f16-channels_last-fold]",
    "test_cuda_moves.py::test_pixels_out_of_channels_and_back[((2, 3), 2, 2, 3, 2, False)-unshuffle]",
    "test_cuda_affine.py::test_places[(2, 3, 4)-forward]",
    "test_cuda_affine.py::test_places[(4, 5)-gradient]",
    "test_cuda_deform.py::test_convolution_and_every_gradient[n1c2h3w4-o3k1s2p2-f16-og1-mask-integers]",
    "test_cuda_norm.py::test_running_statistics_are_updated_in_place[both-float32]",
    "test_cuda_linear.py::test_every_kernel[(1, 1, 1)--normal]",
    "test_cuda_linear.py::test_every_kernel[(9, 4, 17)-x-integers]",
    "test_cuda_roi.py::test_suppression_of_nothing_and_into_memory",
    "test_cuda_grad.py::test_bias[conv2d-grad-bias-n3c2h5w7-f32]",
    "test_cuda.py::test_indices_outside_their_windows_count_and_outside_their_planes_are_refused",
)


def test_numbas_simulator_agrees(subprocess_environment: dict[str, str], tmp_path: Path) -> None:
    """In one process, which notes the kernels that it has run; each that exists is among them."""
    names = tmp_path / "kernels"
    environment = subprocess_environment | {"NUMBA_ENABLE_CUDASIM": "1", "PYCONV_TEST_KERNELS": str(names)}
    tests = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests.parent)]
    cases = [str(tests / case) for case in CASES]
    done = subprocess.run([*command, *cases], capture_output=True, text=True, env=environment, cwd=tests)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert f"{len(CASES)} passed" in done.stdout, done.stdout
    missing = factories() - set(names.read_text().split())
    assert not missing, f"no case runs {', '.join(sorted(missing))}"
