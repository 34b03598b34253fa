// How one native module hands a device to another: a JavaScript external with a type tag that holds a
// std::shared_ptr<RawDevice>. The modules are built together, so C++ types may cross between them.
#pragma once

#include <memory>
#include <utility>

#include <napi.h>

#include "raw_device.h"

namespace nvmm {

using DevicePointer = std::shared_ptr<RawDevice>;

constexpr napi_type_tag kDeviceTag = {0x6e766d6d20646576, 0x6963652068616e64};

inline Napi::Value handleOf(Napi::Env env, DevicePointer device) {
  auto kept = std::make_unique<DevicePointer>(std::move(device));
  auto external =
      Napi::External<DevicePointer>::New(env, kept.get(), [](Napi::Env, DevicePointer* pointer) { delete pointer; });
  kept.release();  // not before: an environment that is being terminated throws, and makes nothing
  napi_type_tag_object(env, external, &kDeviceTag);
  return external;
}

// The device in `value`, or null if it is not such an external.
inline DevicePointer deviceOf(const Napi::Value& value) {
  bool ours = false;
  if (value.IsExternal()) napi_check_object_type_tag(value.Env(), value, &kDeviceTag, &ours);
  return ours ? *value.As<Napi::External<DevicePointer>>().Data() : nullptr;
}

}  // namespace nvmm
