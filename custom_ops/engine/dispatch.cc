// The choice of kernels at run time: the widest that the processor has, or at most what KERAS_EGRU_ISA names.
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace keras_egru {
namespace {

bool HasAvx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

bool HasAvx512() {
#if defined(__x86_64__)
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
#else
  return false;
#endif
}

}  // namespace

template <typename T>
const Kernels<T>& SelectKernels() {
  const char* wanted = std::getenv("KERAS_EGRU_ISA");
  const bool scalar = wanted && std::strcmp(wanted, "scalar") == 0;
  const bool avx2 = wanted && std::strcmp(wanted, "avx2") == 0;
  const bool avx512 = wanted && std::strcmp(wanted, "avx512") == 0;
  if (!scalar && !avx2 && HasAvx512()) {
    if (!avx512 && AmxKernels<T>()) return *AmxKernels<T>();
    if (Avx512Kernels<T>()) return *Avx512Kernels<T>();
  }
  if (!scalar && HasAvx2() && Avx2Kernels<T>()) return *Avx2Kernels<T>();
  return *ScalarKernels<T>();
}

template <typename T>
const Kernels<T>& KernelsForFewRows(const Kernels<T>& kernels) {
  return &kernels == AmxKernels<T>() ? *Avx512Kernels<T>() : kernels;
}

#define INSTANTIATE(T)                             \
  template const Kernels<T>& SelectKernels<T>();   \
  template const Kernels<T>& KernelsForFewRows<T>(const Kernels<T>&);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace keras_egru
