#include <cstddef>

#include "bind.h"

namespace nvmm {

namespace {

Napi::Object numbers(Napi::Env env, std::initializer_list<std::pair<const char*, double>> entries) {
  auto object = Napi::Object::New(env);
  for (const auto& [name, value] : entries) object.Set(name, value);
  return object;
}

}  // namespace

Napi::Value describeAbi(const Napi::CallbackInfo& info) {
  using namespace abi;
  const Napi::Env env = info.Env();
  auto structs = Napi::Object::New(env);
  auto fields = Napi::Object::New(env);
  auto masks = Napi::Object::New(env);
  auto ioctls = Napi::Object::New(env);

#define NVMM_ABI_STRUCT(name, size, align) \
  structs.Set(#name, numbers(env, {{"size", sizeof(name)}, {"align", alignof(name)}}));
#define NVMM_ABI_FIELD(name, field, offset, size) \
  fields.Set(#name "." #field,                    \
             numbers(env, {{"offset", offsetof(name, field)}, {"size", sizeof(static_cast<name*>(nullptr)->field)}}));
#define NVMM_ABI_BITS(name, field, mask, unitOffset, unitSize, bit, width) \
  masks.Set(#name "." #field, Napi::BigInt::New(env, static_cast<uint64_t>(mask)));
#define NVMM_ABI_IOCTL(name, request) ioctls.Set(#name, static_cast<double>(name));
#include "../abi/layout.inc"

  auto result = Napi::Object::New(env);
  result.Set("structs", structs);
  result.Set("fields", fields);
  result.Set("masks", masks);
  result.Set("ioctls", ioctls);
  return result;
}

}  // namespace nvmm
