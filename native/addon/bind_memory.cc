#include <algorithm>

#include "bind.h"

namespace nvmm {

namespace {

// What the ArrayBuffers over a memory own: as long as it lives, JavaScript may reach the memory through one.
struct Access {
  const std::shared_ptr<Memory::Hold> hold;
};

// The ArrayBuffers over a memory that this environment has handed out.
class Views {
 public:
  Napi::Value add(Napi::Env env, const std::shared_ptr<Memory::Hold>& hold, size_t offset, size_t length) {
    forget([](const View& view) { return view.access.expired(); });
    const auto access = std::make_shared<Access>(Access{hold});
    const auto buffer = viewOf(env, hold->memory()->base() + offset, length, access);
    views_.push_back({Napi::Weak(buffer), access});
    return buffer;
  }

  // False if the memory can be reached all the same: others may have detached a buffer before, who have its contents
  // in another now (transfer(), or a reader of a byte stream).
  bool detach() {
    forget([](View& view) {
      if (view.access.expired()) return true;
      auto buffer = view.buffer.Value();
      if (buffer.IsEmpty() || buffer.IsDetached()) return false;
      buffer.Detach();
      return true;
    });
    return views_.empty();
  }

 private:
  struct View {
    Napi::Reference<Napi::ArrayBuffer> buffer;
    std::weak_ptr<Access> access;
  };

  template <typename Predicate>
  void forget(Predicate gone) {
    views_.erase(std::remove_if(views_.begin(), views_.end(), gone), views_.end());
  }

  std::vector<View> views_;
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
    return views->add(info.Env(), hold, integer(info[0]), integer(info[1]));
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
    const int error = hold->free([&] { return views->detach(); });
    return Napi::Number::New(info.Env(), error);
  });

  return object;
}

}  // namespace nvmm
