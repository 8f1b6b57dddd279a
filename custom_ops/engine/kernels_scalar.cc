// The portable kernels: 16-byte vectors, which every x86-64 and ARM64 processor has.
#define KERAS_EGRU_VECTOR_BYTES 16
#include "kernels_template.h"

namespace keras_egru {

template <typename T>
const Kernels<T>* ScalarKernels() {
  static constexpr Kernels<T> kernels = MakeKernels<T>("scalar");
  return &kernels;
}

template const Kernels<float>* ScalarKernels<float>();
template const Kernels<double>* ScalarKernels<double>();

}  // namespace keras_egru
