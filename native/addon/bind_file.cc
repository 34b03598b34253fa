#include <algorithm>
#include <cstring>

#include "background.h"
#include "bind.h"

namespace nvmm {

Napi::Value bind(Napi::Env env, std::shared_ptr<File> file) {
  auto object = Napi::Object::New(env);

  // capability(into: Uint8Array of 104 bytes)
  define(object, "capability", [file](const Napi::CallbackInfo& info) { return copyCapability(info, *file); });

  // machineInfo(id, into: Uint8Array of 32 bytes)
  define(object, "machineInfo", [file](const Napi::CallbackInfo& info) {
    abi::nvmm_ctl_mach_info data = {};
    data.machid = info[0].As<Napi::Number>().Uint32Value();
    const int error = file->machineInfo(&data);
    auto into = info[1].As<Napi::Uint8Array>();
    if (error == 0) memcpy(into.Data(), &data, std::min(into.ByteLength(), sizeof data));
    return Napi::Number::New(info.Env(), error);
  });

  // createMachine(maxRam) -> machine
  define(object, "createMachine", [file](const Napi::CallbackInfo& info) -> Napi::Value {
    std::shared_ptr<Machine> machine;
    const int error = Machine::create(file, integer(info[0]), &machine);
    if (error != 0) return Napi::Number::New(info.Env(), error);
    return bind(info.Env(), std::move(machine));
  });

  // The same on threads of their own: promises of what the above return, and of the info's bytes.
  define(object, "machineInfoAsync", [file](const Napi::CallbackInfo& info) {
    const auto data = std::make_shared<abi::nvmm_ctl_mach_info>();
    data->machid = info[0].As<Napi::Number>().Uint32Value();
    return inBackground(
        info.Env(), [file, data] { return file->machineInfo(data.get()); },
        [data](Napi::Env env, int error) -> Napi::Value {
          if (error != 0) return Napi::Number::New(env, error);
          return Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<const uint8_t*>(data.get()), sizeof *data);
        });
  });
  define(object, "createMachineAsync", [file](const Napi::CallbackInfo& info) {
    const auto machine = std::make_shared<std::shared_ptr<Machine>>();
    return inBackground(
        info.Env(), [file, machine, maxRam = integer(info[0])] { return Machine::create(file, maxRam, machine.get()); },
        [machine](Napi::Env env, int error) -> Napi::Value {
          if (error != 0) return Napi::Number::New(env, error);
          return bind(env, std::move(*machine));
        });
  });
  define(object, "closeAsync", [file](const Napi::CallbackInfo& info) {
    return inBackground(
        info.Env(), [file] { return file->close(); },
        [](Napi::Env env, int error) -> Napi::Value { return Napi::Number::New(env, error); });
  });

  define(object, "close",
         [file](const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), file->close()); });

  return object;
}

}  // namespace nvmm
