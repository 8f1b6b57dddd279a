/* What libkeras_egru_litert.so exports to C. In Python, `load_delegate(path)` of ai_edge_litert calls the first two. */
#ifndef KERAS_EGRU_LITERT_H_
#define KERAS_EGRU_LITERT_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The interface of external delegates of LiteRT and TensorFlow Lite. The options may tell the version of the runtime, as
   {"ai_edge_litert": "2.3.0"} or {"tensorflow": "2.21.0"}: one with other structures is then refused, with a sentence for
   `report_error`, which may be null, and null as the result. */
struct TfLiteDelegate;
struct TfLiteDelegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count,
                                                     void (*report_error)(const char*));
void tflite_plugin_destroy_delegate(struct TfLiteDelegate* delegate);

/* Makes the ops known to every model that is compiled in a LiteRtEnvironment for the CPU (kLiteRtHwAcceleratorCpu).
   `litert_library` is what dlopen returned for libLiteRt.so, or null where the program is linked to it. Returns null, or why
   not, as a sentence that is never freed. */
const char* KerasEgruRegisterOps(void* litert_environment, void* litert_library);

#ifdef __cplusplus
}
#endif

#endif /* KERAS_EGRU_LITERT_H_ */
