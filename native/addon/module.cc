// nvmm.node: opens a device and hands its objects to JavaScript.
#include "../device/handle.h"
#include "../device/kernel_device.h"
#include "bind.h"

namespace nvmm {

// open(handle | null, path, root) -> file: `handle` is another module's device, null the kernel's.
static Napi::Value open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::shared_ptr<Device> device;
  if (info[0].IsNull()) {
    static const auto kernel = std::make_shared<KernelDevice>();
    installKickHandler();
    device = kernel;
  } else {
    device = deviceOf(info[0]);
    if (!device) throw Napi::TypeError::New(env, "This is not a device handle.");
  }
  const std::string path = info[1].As<Napi::String>();
  const Access access = info[2].As<Napi::Boolean>() ? Access::Root : Access::Owner;
  std::shared_ptr<File> file;
  const int error = File::open(std::move(device), path, access, &file);
  if (error != 0) return Napi::Number::New(env, error);
  return bind(env, std::move(file));
}

// attach(key) -> machine: one that another environment opened
static Napi::Value attach(const Napi::CallbackInfo& info) {
  auto machine = Machine::find(integer(info[0]));
  if (!machine || machine->destroyed()) return Napi::Number::New(info.Env(), netbsd::kNOENT);
  return bind(info.Env(), std::move(machine));
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New(env, open, "open"));
  exports.Set("attach", Napi::Function::New(env, attach, "attach"));
  exports.Set("describeAbi", Napi::Function::New(env, describeAbi, "describeAbi"));
  return exports;
}

NODE_API_MODULE(nvmm, init)

}  // namespace nvmm
