// The kernels with 64-byte vectors; compiled with the flags of this instruction set and of no other file.
#define KERAS_EGRU_VECTOR_BYTES 64
#include "kernels_template.h"

namespace keras_egru {

#ifdef __AVX512F__
template <typename T>
const Kernels<T>* Avx512Kernels() {
  static constexpr Kernels<T> kernels = MakeKernels<T>("avx512");
  return &kernels;
}
#else
template <typename T>
const Kernels<T>* Avx512Kernels() {
  return nullptr;
}
#endif

template const Kernels<float>* Avx512Kernels<float>();
template const Kernels<double>* Avx512Kernels<double>();

}  // namespace keras_egru
