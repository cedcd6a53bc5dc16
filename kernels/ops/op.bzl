"""op: the libraries and the test of one op, by its files' names."""

load("//third_party/cuda:cuda_library.bzl", "cuda_library")

def op(name, has_cpu_file = True, cpu_srcs = [], cpu_hdrs = [], cuda_srcs = None, cuda_hdrs = [], may_spill = "", deps = [], test_srcs = None, test_ops = []):
    """NAME.h, NAME.cc, NAME_cpu.cc, NAME_cuda.cu and NAME_test.cc.

    They become //kernels/ops:NAME, the op without its CUDA kernels; NAME_cuda, those; NAME_sim, those compiled for the
    simulator; NAME_test_cases and NAME_test, the latter on the CPU and on the simulator. A binary that links no kernels
    has no CUDA (the dispatch is by weak symbols): //kernels/ops:cuda are all of them.

    Args:
      name: the op.
      has_cpu_file: False where NAME.cc is all there is, NAME_cpu.cc being no faster.
      cpu_srcs: sources of the fast CPU version besides NAME_cpu.cc.
      cpu_hdrs: headers that NAME_cpu.cc includes once per SIMD target.
      cuda_srcs: the .cu files, where they are not NAME_cuda.cu alone.
      cuda_hdrs: headers that they share.
      may_spill: of kernels' mangled names (cuda_library).
      deps: of the library, besides kernels/core.
      test_srcs: where they are not NAME_test.cc alone.
      test_ops: ops that the test uses besides.
    """
    native.cc_library(
        name = name,
        srcs = [name + ".cc"] + ([name + "_cpu.cc"] if has_cpu_file else []) + cpu_srcs,
        hdrs = [name + ".h"],
        # Loops over tiles of vectors have to be unrolled whole, or the tiles lie in memory.
        copts = select({
            # Checks of each addition, in loops that are not unrolled, made models fifty times slower. ASan stays.
            "//kernels/ops:sanitizer": [
                "-O2",
                "-fno-sanitize=undefined",
            ],
            "//conditions:default": ["-O3"],
        }),
        textual_hdrs = cpu_hdrs,
        visibility = ["//visibility:public"],
        deps = deps + [
            ":simd",
            "//kernels/core:cpu_device",
            "//kernels/core:cuda_lane",
            "//kernels/core:device",
            "//kernels/core:team",
            "//kernels/core:tensor",
        ],
    )
    kernels = cuda_srcs if cuda_srcs != None else [name + "_cuda.cu"]
    cuda_library(
        name = name + "_cuda",
        srcs = kernels,
        hdrs = cuda_hdrs,
        may_spill = may_spill,
        alwayslink = True,
        deps = [
            ":" + name,
            ":kernel_headers",
            "//kernels/core:gpu",
        ],
    )
    for kernel in kernels:
        native.genrule(
            name = kernel + "_for_the_simulator",
            outs = [kernel.replace("_cuda.cu", "_sim.cc")],
            cmd = "echo '#include \"%s/%s\"' > $@" % (native.package_name(), kernel),
            tags = ["manual"],
        )
    native.cc_library(
        name = name + "_sim",
        testonly = True,
        srcs = [kernel.replace("_cuda.cu", "_sim.cc") for kernel in kernels],
        alwayslink = True,
        textual_hdrs = kernels + cuda_hdrs,
        visibility = ["//tests:__subpackages__"],
        deps = [
            ":" + name,
            ":kernel_headers",
            "//kernels/core:gpu_sim",
        ],
    )
    native.cc_library(
        name = name + "_test_cases",
        testonly = True,
        srcs = test_srcs if test_srcs != None else [name + "_test.cc"],
        alwayslink = True,
        visibility = ["//tests:__subpackages__"],
        deps = [":" + test_op for test_op in test_ops] + [
            ":" + name,
            ":op_testing",
            "//third_party:doctest",
        ],
    )
    native.cc_test(
        name = name + "_test",
        size = "large",  # under sanitizers
        tags = ["threads"],
        deps = [":" + test_op + "_sim" for test_op in test_ops] + [
            ":" + name + "_sim",
            ":" + name + "_test_cases",
            ":sim_testing",
        ],
    )
