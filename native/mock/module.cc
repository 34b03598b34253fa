// nvmm_mock.node: makes software devices and hands them to the addon.
#include "handle.h"

namespace nvmm::mock {

// createDevice({ vendor, kernelVersion, maxMachines, maxVcpus, maxRam, timeSlice }) -> handle; values checked by the
// caller.
static Napi::Value createDevice(const Napi::CallbackInfo& info) {
  const auto object = info[0].As<Napi::Object>();
  const auto number = [&](const char* name) { return object.Get(name).As<Napi::Number>().DoubleValue(); };
  Options options;
  options.vendor =
      object.Get("vendor").As<Napi::String>().Utf8Value() == "intel" ? cpu::Vendor::Intel : cpu::Vendor::Amd;
  options.kernelVersion = static_cast<uint32_t>(number("kernelVersion"));
  options.maxMachines = static_cast<uint32_t>(number("maxMachines"));
  options.maxVcpus = static_cast<uint32_t>(number("maxVcpus"));
  options.maxRam = static_cast<uint64_t>(number("maxRam"));
  options.timeSlice = static_cast<uint64_t>(number("timeSlice"));
  return handleOf(info.Env(), makeMockDevice(options));
}

// sharedDevice() -> handle of the device that all environments of this process share.
static Napi::Value sharedDevice(const Napi::CallbackInfo& info) {
  static const DevicePointer shared = makeMockDevice(Options());
  return handleOf(info.Env(), shared);
}

// counters(handle) -> { ioctls, exits, instructions }
static Napi::Value counters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto device = deviceOf(info[0]);
  if (!device) throw Napi::TypeError::New(env, "This is not a device of the mock.");
  const Counters counters = device->counters();
  const auto list = [&](const uint64_t* values, size_t count) {
    auto array = Napi::Array::New(env, count);
    for (size_t i = 0; i < count; i++) array.Set(static_cast<uint32_t>(i), static_cast<double>(values[i]));
    return array;
  };
  auto result = Napi::Object::New(env);
  result.Set("ioctls", list(counters.ioctls, std::size(counters.ioctls)));
  result.Set("exits", list(counters.exits, std::size(counters.exits)));
  result.Set("instructions", static_cast<double>(counters.instructions));
  return result;
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("createDevice", Napi::Function::New(env, createDevice, "createDevice"));
  exports.Set("sharedDevice", Napi::Function::New(env, sharedDevice, "sharedDevice"));
  exports.Set("counters", Napi::Function::New(env, counters, "counters"));
  return exports;
}

NODE_API_MODULE(nvmm_mock, init)

}  // namespace nvmm::mock
