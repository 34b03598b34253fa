#include "background.h"
#include "bind.h"

namespace nvmm {

Napi::Value bind(Napi::Env env, std::shared_ptr<Machine> machine) {
  auto object = Napi::Object::New(env);
  object.Set("id", machine->id());
  object.Set("key", static_cast<double>(machine->key()));
  // status: two Uint32, the generation of the areas and whether the machine is destroyed
  object.Set("status", viewOf(env, machine->status().get(), sizeof(Machine::Status), machine->status()));

  // capability(into: Uint8Array of 104 bytes)
  define(object, "capability",
         [machine](const Napi::CallbackInfo& info) { return copyCapability(info, machine->file()); });

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

  // memory(id) -> memory: one that another environment allocated
  define(object, "memory", [machine](const Napi::CallbackInfo& info) -> Napi::Value {
    auto memory = machine->memory(info[0].As<Napi::Number>());
    return memory ? bind(info.Env(), std::move(memory)) : Napi::Number::New(info.Env(), netbsd::kNOENT);
  });

  // areas() -> Float64Array of memory's id, offset, gpa, size, prot for each
  define(object, "areas", [machine](const Napi::CallbackInfo& info) {
    const auto areas = machine->areas();
    auto result = Napi::Float64Array::New(info.Env(), 5 * areas.size());
    double* next = result.Data();
    for (const Area& area : areas) {
      *next++ = area.memory->id();
      *next++ = static_cast<double>(area.offset);
      *next++ = static_cast<double>(area.gpa);
      *next++ = static_cast<double>(area.size);
      *next++ = area.prot;
    }
    return result;
  });

  // unmapGpa(gpa, size)
  define(object, "unmapGpa", [machine](const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), machine->unmapGpa(integer(info[0]), integer(info[1])));
  });

  // createVcpu(id, hasStopField, watch) -> vcpu
  define(object, "createVcpu", [machine](const Napi::CallbackInfo& info) -> Napi::Value {
    std::shared_ptr<Vcpu> vcpu;
    const int error = Vcpu::create(machine, info[0].As<Napi::Number>(), info[1].As<Napi::Boolean>(), &vcpu);
    if (error != 0) return Napi::Number::New(info.Env(), error);
    return bind(info.Env(), std::move(vcpu), info[2].As<Napi::Boolean>().Value());
  });

  // vcpu(id, watch) -> vcpu: one that another environment created
  define(object, "vcpu", [machine](const Napi::CallbackInfo& info) -> Napi::Value {
    auto vcpu = machine->vcpu(info[0].As<Napi::Number>());
    if (!vcpu) return Napi::Number::New(info.Env(), netbsd::kNOENT);
    return bind(info.Env(), std::move(vcpu), info[1].As<Napi::Boolean>().Value());
  });

  define(object, "destroy",
         [machine](const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), machine->destroy()); });

  // destroyAsync() -> promise of what destroy() returns
  define(object, "destroyAsync", [machine](const Napi::CallbackInfo& info) {
    return inBackground(
        info.Env(), [machine] { return machine->destroy(); },
        [](Napi::Env env, int error) -> Napi::Value { return Napi::Number::New(env, error); });
  });

  return object;
}

}  // namespace nvmm
