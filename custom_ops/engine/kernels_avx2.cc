// The kernels with 32-byte vectors; compiled with the flags of this instruction set and of no other file.
#define KERAS_EGRU_VECTOR_BYTES 32
#include "kernels_template.h"

namespace keras_egru {

#ifdef __AVX2__
template <typename T>
const Kernels<T>* Avx2Kernels() {
  static constexpr Kernels<T> kernels = MakeKernels<T>("avx2");
  return &kernels;
}
#else
template <typename T>
const Kernels<T>* Avx2Kernels() {
  return nullptr;
}
#endif

template const Kernels<float>* Avx2Kernels<float>();
template const Kernels<double>* Avx2Kernels<double>();

}  // namespace keras_egru
