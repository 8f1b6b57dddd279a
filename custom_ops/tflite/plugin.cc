// What the library exports: the interface of external delegates, for interpreters, and a way into LiteRT's compiled models.
#include <dlfcn.h>

#include <string>
#include <type_traits>

#include "delegate.h"
#include "keras_egru_litert.h"

#define KERAS_EGRU_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using keras_egru::litert::ApiVersion;
using keras_egru::litert::Delegate;
using keras_egru::litert::Handle;

TfLiteDelegate* Opaque(Delegate* delegate) { return reinterpret_cast<TfLiteDelegate*>(delegate); }
Delegate* Known(TfLiteDelegate* delegate) { return reinterpret_cast<Delegate*>(delegate); }

// The functions of LiteRT's C API that register an accelerator: something that gives each compiled model a delegate.
struct Api {
  int (*create)(Handle* accelerator);
  int (*set_name)(Handle, int (*)(Handle, const char**));
  int (*set_version)(Handle, int (*)(Handle, ApiVersion*));
  int (*set_hardware)(Handle, int (*)(Handle, int*));
  int (*set_delegate)(Handle, int (*)(Handle context, Handle environment, Handle, Handle options, Handle* wrapper));
  int (*enlist)(Handle environment, Handle accelerator, void* data, void (*release)(void*));
  int (*wrap)(TfLiteDelegate*, void (*destroy)(TfLiteDelegate*), Handle* wrapper);

  // Null, or the function that is missing.
  const char* Find(void* library) {
    const char* missing = nullptr;
    const auto find = [&](auto& function, const char* name) {
      void* const address = dlsym(library ? library : RTLD_DEFAULT, name);
      if (!address) missing = name;
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(address);
    };
    find(create, "LiteRtCreateAccelerator");
    find(set_name, "LiteRtSetAcceleratorGetName");
    find(set_version, "LiteRtSetAcceleratorGetVersion");
    find(set_hardware, "LiteRtSetAcceleratorGetHardwareSupport");
    find(set_delegate, "LiteRtSetDelegateFunction");
    find(enlist, "LiteRtRegisterAccelerator");
    find(wrap, "LiteRtWrapDelegate");
    // Before there was this function, LiteRtWrapDelegate took two arguments, and no way to destroy the delegate.
    void (*destroy_wrapper)(Handle);
    find(destroy_wrapper, "LiteRtDestroyDelegateWrapper");
    return missing;
  }
};

Api api;  // of the LiteRT in this process

int CreateWrapped(Handle, Handle, Handle, Handle, Handle* wrapper) {
  Delegate* delegate = keras_egru::CreateDelegate();
  return api.wrap(Opaque(delegate), [](TfLiteDelegate* given) { keras_egru::DestroyDelegate(Known(given)); }, wrapper);
}

}  // namespace

KERAS_EGRU_EXPORT TfLiteDelegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count,
                                                                void (*report_error)(const char*)) {
  for (int i = 0; i < static_cast<int>(count); ++i) {  // Python hands over 32 bits
    const std::string why_not = keras_egru::litert::WhyNot(keys[i], values[i]);
    if (why_not.empty()) continue;
    if (report_error) report_error(why_not.c_str());
    return nullptr;
  }
  return Opaque(keras_egru::CreateDelegate());
}

KERAS_EGRU_EXPORT void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) { keras_egru::DestroyDelegate(Known(delegate)); }

KERAS_EGRU_EXPORT const char* KerasEgruRegisterOps(void* environment, void* library) {
  static std::string why_not;
  if (!environment) return "the keras-egru op needs a LiteRtEnvironment, received null.";
  if (const char* missing = api.Find(library)) {
    why_not = "the keras-egru op needs LiteRT 2.1 or later: " + std::string(missing) + " is not in this one.";
    return why_not.c_str();
  }
  Handle accelerator = nullptr;
  const bool done =
      api.create(&accelerator) == 0 &&
      api.set_name(accelerator, [](Handle, const char** name) { return *name = "KerasEgru", 0; }) == 0 &&
      api.set_version(accelerator, [](Handle, ApiVersion* version) { return *version = {1, 0, 0}, 0; }) == 0 &&
      api.set_hardware(accelerator, [](Handle, int* hardware) { return *hardware = keras_egru::litert::kCpu, 0; }) == 0 &&
      api.set_delegate(accelerator, CreateWrapped) == 0 && api.enlist(environment, accelerator, nullptr, nullptr) == 0;
  return done ? nullptr : "LiteRT did not take the keras-egru op.";
}
