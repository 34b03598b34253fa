// The JavaScript faces of the addon's objects: plain objects whose functions carry their C++ object with them, so that
// there is no `this` to unwrap or to confuse. Functions answer 0, an object, or a NetBSD errno; lib/native.ts types
// them, and only lib calls them, with arguments that it has checked.
#pragma once

#include <napi.h>

#include <algorithm>
#include <cstring>

#include "objects.h"

namespace nvmm {

Napi::Value bind(Napi::Env env, std::shared_ptr<File> file);
Napi::Value bind(Napi::Env env, std::shared_ptr<Machine> machine);
Napi::Value bind(Napi::Env env, std::shared_ptr<Memory> memory);
// `watch`: see Kicker::add.
Napi::Value bind(Napi::Env env, std::shared_ptr<Vcpu> vcpu, bool watch);

// What the compiled code says of every struct, field, mask and request: { structs, bits, ioctls }.
Napi::Value describeAbi(const Napi::CallbackInfo& info);

// An ArrayBuffer over memory that `owner` keeps alive.
template <typename Owner>
Napi::ArrayBuffer viewOf(Napi::Env env, void* data, size_t size, std::shared_ptr<Owner> owner) {
  auto kept = std::make_unique<std::shared_ptr<Owner>>(std::move(owner));
  const auto buffer = Napi::ArrayBuffer::New(
      env, data, size, [](Napi::Env, void*, std::shared_ptr<Owner>* owned) { delete owned; }, kept.get());
  kept.release();  // not before: an environment that is being terminated throws, and makes nothing
  return buffer;
}

// Sets `name` of `object` to a function that calls `method`.
template <typename Method>
void define(Napi::Object object, const char* name, Method method) {
  object.Set(name, Napi::Function::New(object.Env(), std::move(method), name));
}

inline Napi::Value copyCapability(const Napi::CallbackInfo& info, File& file) {
  abi::nvmm_capability capability = {};
  const int error = file.capability(&capability);
  auto into = info[0].As<Napi::Uint8Array>();
  if (error == 0) memcpy(into.Data(), &capability, std::min(into.ByteLength(), sizeof capability));
  return Napi::Number::New(info.Env(), error);
}

inline uint64_t integer(const Napi::Value& value) {
  return static_cast<uint64_t>(value.As<Napi::Number>().Int64Value());
}

}  // namespace nvmm
