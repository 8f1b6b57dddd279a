// The delegate that runs the ops of this library in a LiteRT interpreter.
#ifndef KERAS_EGRU_TFLITE_DELEGATE_H_
#define KERAS_EGRU_TFLITE_DELEGATE_H_

#include "litert_abi.h"

namespace keras_egru {

// Owned by the caller; nothing of it depends on a model.
litert::Delegate* CreateDelegate();
void DestroyDelegate(litert::Delegate* delegate);

}  // namespace keras_egru

#endif  // KERAS_EGRU_TFLITE_DELEGATE_H_
