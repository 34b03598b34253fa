// nvmm_mock.node: makes software devices and hands them to the addon.
#include <algorithm>
#include <cstring>

#include "cpu/opcodes.h"
#include "decoded.h"
#include "handle.h"
#ifdef NVMM_MOCK_FAULTS
#include "faults/faulty_device.h"
#endif

namespace nvmm::mock {

static DevicePointer newDevice(const Options& options) {
#ifdef NVMM_MOCK_FAULTS
  return withFault(makeMockDevice(options));
#else
  return makeMockDevice(options);
#endif
}

// createDevice({ vendor, kernelVersion, virtualization, maxMachines, maxVcpus, maxRam, timeSlice, clock }) -> handle;
// values checked by the caller.
static Napi::Value createDevice(const Napi::CallbackInfo& info) {
  const auto object = info[0].As<Napi::Object>();
  const auto number = [&](const char* name) { return object.Get(name).As<Napi::Number>().DoubleValue(); };
  Options options;
  options.vendor =
      object.Get("vendor").As<Napi::String>().Utf8Value() == "intel" ? cpu::Vendor::Intel : cpu::Vendor::Amd;
  options.kernelVersion = static_cast<uint32_t>(number("kernelVersion"));
  options.virtualization = object.Get("virtualization").ToBoolean();
  options.maxMachines = static_cast<uint32_t>(number("maxMachines"));
  options.maxVcpus = static_cast<uint32_t>(number("maxVcpus"));
  options.maxRam = static_cast<uint64_t>(number("maxRam"));
  options.timeSlice = static_cast<uint64_t>(number("timeSlice"));
  options.realTime = object.Get("clock").As<Napi::String>().Utf8Value() == "real";
  return handleOf(info.Env(), newDevice(options));
}

// sharedDevice() -> handle of the device that all environments of this process share.
static Napi::Value sharedDevice(const Napi::CallbackInfo& info) {
  static const DevicePointer shared = newDevice(Options());
  return handleOf(info.Env(), shared);
}

// The device that is the first argument, which keeps it alive.
static MockDevice& deviceIn(const Napi::CallbackInfo& info) {
  const auto device = deviceOf(info[0]);
  if (!device) throw Napi::TypeError::New(info.Env(), "This is not a device of the mock.");
  return *device;
}

// counters(handle) -> { ioctls, exits, instructions, unknownOpcodes }; the last by index, those that came only
static Napi::Value counters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Counters counters = deviceIn(info).counters();
  const auto list = [&](const uint64_t* values, size_t count) {
    auto array = Napi::Array::New(env, count);
    for (size_t i = 0; i < count; i++) array.Set(static_cast<uint32_t>(i), static_cast<double>(values[i]));
    return array;
  };
  auto result = Napi::Object::New(env);
  result.Set("ioctls", list(counters.ioctls, std::size(counters.ioctls)));
  result.Set("exits", list(counters.exits, std::size(counters.exits)));
  result.Set("instructions", static_cast<double>(counters.instructions));
  auto unknown = Napi::Object::New(env);
  for (size_t i = 0; i < counters.unknownOpcodes.size(); i++) {
    if (counters.unknownOpcodes[i] == 0) continue;
    unknown.Set(static_cast<uint32_t>(i), static_cast<double>(counters.unknownOpcodes[i]));
  }
  result.Set("unknownOpcodes", unknown);
  return result;
}

// plan(handle, operation, nth, kind, error, exit): kind is that of Fault, exit the bytes of an nvmm_x86_exit.
static Napi::Value plan(const Napi::CallbackInfo& info) {
  const auto number = [&](size_t i) { return info[i].As<Napi::Number>(); };
  Fault fault;
  fault.kind = static_cast<Fault::Kind>(number(3).Uint32Value());
  fault.error = number(4).Int32Value();
  const auto exit = info[5].As<Napi::Uint8Array>();
  std::memcpy(&fault.exit, exit.Data(), std::min(exit.ByteLength(), sizeof fault.exit));
  deviceIn(info).plan(number(1).Uint32Value(), static_cast<uint64_t>(number(2).Int64Value()), fault);
  return info.Env().Undefined();
}

// reset(handle) -> errno
static Napi::Value reset(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), deviceIn(info).reset());
}

// opcodes() -> the opcode table of the software CPU: for docs/cpu.md. -1 where a row has no such thing.
static Napi::Value opcodes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto rows = Napi::Array::New(env);
  const auto [first, last] = cpu::opcodes();
  for (const cpu::Opcode* row = first; row != last; ++row) {
    auto object = Napi::Object::New(env);
    object.Set("map", static_cast<double>(row->map));
    object.Set("opcode", static_cast<double>(row->opcode));
    object.Set("prefix", static_cast<double>(row->prefix));
    object.Set("extension", static_cast<double>(row->extension));
    object.Set("modrm", static_cast<double>(row->modrm));
    object.Set("rexW", row->rexW);
    object.Set("vex", (row->attributes & cpu::kVex) != 0);
    object.Set("no64", (row->attributes & cpu::kNo64) != 0);
    object.Set("only64", (row->attributes & cpu::kOnly64) != 0);
    object.Set("simd", row->form.simd);
    object.Set("inOpcode", row->form.inOpcode);
    object.Set("mnemonic", row->mnemonic);
    object.Set("operands", row->operands);
    rows.Set(rows.Length(), object);
  }
  return rows;
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("createDevice", Napi::Function::New(env, createDevice, "createDevice"));
  exports.Set("sharedDevice", Napi::Function::New(env, sharedDevice, "sharedDevice"));
  exports.Set("counters", Napi::Function::New(env, counters, "counters"));
  exports.Set("opcodes", Napi::Function::New(env, opcodes, "opcodes"));
  exports.Set("plan", Napi::Function::New(env, plan, "plan"));
  exports.Set("reset", Napi::Function::New(env, reset, "reset"));
  exports.Set("decode", Napi::Function::New(env, decode, "decode"));
  return exports;
}

NODE_API_MODULE(nvmm_mock, init)

}  // namespace nvmm::mock
