#include <algorithm>

#include "bind.h"

namespace nvmm {

namespace {

// The ArrayBuffers over a memory that this environment has handed out and that may still be alive.
struct Views {
  std::vector<Napi::Reference<Napi::ArrayBuffer>> buffers;

  void add(Napi::ArrayBuffer buffer) {
    buffers.erase(std::remove_if(buffers.begin(), buffers.end(), [](auto& weak) { return weak.Value().IsEmpty(); }),
                  buffers.end());
    buffers.push_back(Napi::Weak(buffer));
  }

  void detach() {
    for (auto& weak : buffers) {
      auto buffer = weak.Value();
      if (!buffer.IsEmpty() && !buffer.IsDetached()) buffer.Detach();
    }
    buffers.clear();
  }
};

}  // namespace

Napi::Value bind(Napi::Env env, std::shared_ptr<Memory> memory) {
  const auto hold = Memory::Hold::of(memory);
  if (!hold) return Napi::Number::New(env, netbsd::kNOENT);
  auto object = Napi::Object::New(env);
  object.Set("id", memory->id());
  object.Set("size", static_cast<double>(memory->size()));
  const auto views = std::make_shared<Views>();

  // view(offset, length) -> ArrayBuffer, detached by free()
  define(object, "view", [hold, views](const Napi::CallbackInfo& info) -> Napi::Value {
    const auto buffer = viewOf(info.Env(), hold->memory()->base() + integer(info[0]), integer(info[1]), hold);
    views->add(buffer);
    return buffer;
  });

  // map(offset, gpa, size, prot)
  define(object, "map", [hold](const Napi::CallbackInfo& info) {
    const auto& memory = hold->memory();
    const auto machine = memory->machine();
    const int error = !machine ? netbsd::kNOENT
                               : machine->mapGpa({memory, integer(info[0]), integer(info[1]), integer(info[2]),
                                                  info[3].As<Napi::Number>()});
    return Napi::Number::New(info.Env(), error);
  });

  // Whether any environment has freed it.
  define(object, "freed",
         [hold](const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), hold->memory()->freed()); });

  define(object, "free", [hold, views](const Napi::CallbackInfo& info) {
    const int error = hold->free([&] { views->detach(); });
    return Napi::Number::New(info.Env(), error);
  });

  return object;
}

}  // namespace nvmm
