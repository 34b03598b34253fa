#include "bind.h"

namespace nvmm {

Napi::Value bind(Napi::Env env, std::shared_ptr<Machine> machine) {
  auto object = Napi::Object::New(env);
  object.Set("id", machine->id());

  // configure(op)
  define(object, "configure", [machine](const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), machine->configure(integer(info[0])));
  });

  // allocate(size) -> memory
  define(object, "allocate", [machine](const Napi::CallbackInfo& info) -> Napi::Value {
    std::shared_ptr<Memory> memory;
    const int error = Memory::allocate(machine, integer(info[0]), &memory);
    if (error != 0) return Napi::Number::New(info.Env(), error);
    return bind(info.Env(), std::move(memory));
  });

  // unmapGpa(gpa, size)
  define(object, "unmapGpa", [machine](const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), machine->unmapGpa(integer(info[0]), integer(info[1])));
  });

  // createVcpu(id, hasStopField, watch) -> vcpu
  define(object, "createVcpu", [machine](const Napi::CallbackInfo& info) -> Napi::Value {
    std::shared_ptr<Vcpu> vcpu;
    const int error = Vcpu::create(machine, info[0].As<Napi::Number>(), info[1].As<Napi::Boolean>(),
                                   info[2].As<Napi::Boolean>(), &vcpu);
    if (error != 0) return Napi::Number::New(info.Env(), error);
    return bind(info.Env(), std::move(vcpu));
  });

  define(object, "destroy",
         [machine](const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), machine->destroy()); });

  return object;
}

}  // namespace nvmm
