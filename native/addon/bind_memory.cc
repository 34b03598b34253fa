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
  auto object = Napi::Object::New(env);
  const auto views = std::make_shared<Views>();

  // view(offset, length) -> ArrayBuffer, detached by free()
  define(object, "view", [memory, views](const Napi::CallbackInfo& info) -> Napi::Value {
    const auto buffer = viewOf(info.Env(), memory->base() + integer(info[0]), integer(info[1]), memory);
    views->add(buffer);
    return buffer;
  });

  // map(offset, gpa, size, prot)
  define(object, "map", [memory](const Napi::CallbackInfo& info) {
    const int error = memory->machine()->mapGpa(*memory, integer(info[0]), integer(info[1]), integer(info[2]),
                                                info[3].As<Napi::Number>());
    return Napi::Number::New(info.Env(), error);
  });

  define(object, "free", [memory, views](const Napi::CallbackInfo& info) {
    const int error = memory->free([&] { views->detach(); });
    return Napi::Number::New(info.Env(), error);
  });

  return object;
}

}  // namespace nvmm
