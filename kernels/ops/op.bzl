"""op: the library and the test of one op, by its files' names."""

def op(name, has_cpu_file = True, cpu_srcs = [], cpu_hdrs = [], deps = [], test_deps = []):
    """NAME.h, NAME.cc, NAME_cpu.cc and NAME_test.cc, as //kernels/ops:NAME and //kernels/ops:NAME_test.

    Args:
      name: the op.
      has_cpu_file: False where NAME.cc is all there is, NAME_cpu.cc being no faster.
      cpu_srcs: sources of the fast CPU version besides NAME_cpu.cc.
      cpu_hdrs: headers that NAME_cpu.cc includes once per SIMD target.
      deps: of the library, besides kernels/core.
      test_deps: of the test, besides the library and op_testing.
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
            "//kernels/core:device",
            "//kernels/core:team",
            "//kernels/core:tensor",
        ],
    )
    native.cc_test(
        name = name + "_test",
        size = "large",  # under sanitizers
        srcs = [name + "_test.cc"],
        tags = ["threads"],
        deps = test_deps + [
            ":" + name,
            ":op_testing",
            "//third_party:doctest",
        ],
    )
