// How often memory was taken with `new` so far, in the whole program.
#ifndef KERAS_EGRU_TFLITE_TESTS_COUNTED_MEMORY_H_
#define KERAS_EGRU_TFLITE_TESTS_COUNTED_MEMORY_H_

#include <cstdint>

int64_t TimesMemoryWasTaken();

#endif  // KERAS_EGRU_TFLITE_TESTS_COUNTED_MEMORY_H_
