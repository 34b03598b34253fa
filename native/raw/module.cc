// nvmm_raw.node: the system calls of a RawDevice and the process's memory by address, unchecked, for JavaScript that
// tests a device. Never loaded by the library.
//
// Addresses, requests and lengths are BigInt, everything else numbers. Each function returns its result, or the NetBSD
// errno negated.
#include <napi.h>

#include <sys/mman.h>

#include <cerrno>

#include "../abi/nvmm.h"
#include "../device/handle.h"
#include "call.h"
#include "kernel_raw_device.h"
#include "memory.h"
#include "round_trip.h"
#include "stuck_device.h"
#include "system_call_device.h"
#include "watch.h"

namespace nvmm {

// The arguments of a call; wrong ones throw, they never crash.
class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  RawDevice& device(size_t i) {
    device_ = deviceOf(info_[i]);
    if (!device_) throw Napi::TypeError::New(info_.Env(), "argument " + std::to_string(i) + " is not a device");
    return *device_;
  }
  uint64_t big(size_t i) const {
    if (!info_[i].IsBigInt())
      throw Napi::TypeError::New(info_.Env(), "argument " + std::to_string(i) + " is not a BigInt");
    bool lossless = false;
    return info_[i].As<Napi::BigInt>().Uint64Value(&lossless);
  }
  int64_t number(size_t i) const { return info_[i].ToNumber().Int64Value(); }
  int integer(size_t i) const { return info_[i].ToNumber().Int32Value(); }
  std::string string(size_t i) const { return info_[i].ToString(); }
  Napi::Uint8Array bytes(size_t i) const {
    if (!info_[i].IsTypedArray() || info_[i].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
      throw Napi::TypeError::New(info_.Env(), "argument " + std::to_string(i) + " is not a Uint8Array");
    }
    return info_[i].As<Napi::Uint8Array>();
  }
  void* pointer(size_t i) const { return reinterpret_cast<void*>(big(i)); }

  Napi::Value answer(int error, int64_t result = 0) const {
    return Napi::Number::New(info_.Env(), static_cast<double>(error ? -error : result));
  }
  Napi::Value answer(int error, const void* result) const {
    if (error) return Napi::BigInt::New(info_.Env(), static_cast<int64_t>(-error));
    return Napi::BigInt::New(info_.Env(), static_cast<uint64_t>(reinterpret_cast<uintptr_t>(result)));
  }

 private:
  const Napi::CallbackInfo& info_;
  DevicePointer device_;
};

// kernelDevice() -> handle
static Napi::Value kernelDevice(const Napi::CallbackInfo& info) {
  return handleOf(info.Env(), std::make_shared<KernelRawDevice>());
}

// ---- system calls on the device -------------------------------------------------------------------------------------

// open(device, path, flags, minor) -> fd
static Napi::Value open(const Napi::CallbackInfo& info) {
  Arguments in(info);
  int fd = -1;
  const int error = in.device(0).openRaw(in.string(1).c_str(), in.integer(2), static_cast<uint32_t>(in.number(3)), &fd);
  return in.answer(error, fd);
}

// close(device, fd)
static Napi::Value close(const Napi::CallbackInfo& info) {
  Arguments in(info);
  return in.answer(in.device(0).close(in.integer(1)));
}

// dup(device, fd) -> fd
static Napi::Value dup(const Napi::CallbackInfo& info) {
  Arguments in(info);
  int duplicate = -1;
  const int error = in.device(0).dup(in.integer(1), &duplicate);
  return in.answer(error, duplicate);
}

// ioctl(device, fd, request, argument)
static Napi::Value ioctl(const Napi::CallbackInfo& info) {
  Arguments in(info);
  return in.answer(in.device(0).ioctlRaw(in.integer(1), in.big(2), in.pointer(3)));
}

// run(device, fd, argument, stop, stopAfter, limit): VCPU_RUN. From `stopAfter` ms on, 1 is stored to the address
// `stop` (0n: never) until the run returns; one that has not done so after `limit` ms is made to.
static Napi::Value run(const Napi::CallbackInfo& info) {
  Arguments in(info);
  RawDevice& device = in.device(0);
  const Watch watch(device, in.big(3), Watch::Milliseconds(in.number(4)), Watch::Milliseconds(in.number(5)));
  return in.answer(device.ioctlRaw(in.integer(1), abi::NVMM_IOC_VCPU_RUN, in.pointer(2)));
}

// mmap(device, fd, offset, length, prot, flags) -> address
static Napi::Value mmap(const Napi::CallbackInfo& info) {
  Arguments in(info);
  void* address = nullptr;
  const int error = in.device(0).mmapRaw(in.integer(1), in.big(2), in.big(3), in.integer(4), in.integer(5), &address);
  return in.answer(error, address);
}

// mprotect(device, address, length, prot)
static Napi::Value mprotect(const Napi::CallbackInfo& info) {
  Arguments in(info);
  return in.answer(in.device(0).mprotect(in.pointer(1), in.big(2), in.integer(3)));
}

// read(device, fd), write(device, fd): four bytes -> how many were
static Napi::Value read(const Napi::CallbackInfo& info) {
  Arguments in(info);
  char buffer[4];
  int64_t result = 0;
  const int error = in.device(0).read(in.integer(1), buffer, sizeof(buffer), &result);
  return in.answer(error, result);
}

static Napi::Value write(const Napi::CallbackInfo& info) {
  Arguments in(info);
  const char buffer[4] = {};
  int64_t result = 0;
  const int error = in.device(0).write(in.integer(1), buffer, sizeof(buffer), &result);
  return in.answer(error, result);
}

// fstat(device, fd)
static Napi::Value fstat(const Napi::CallbackInfo& info) {
  Arguments in(info);
  return in.answer(in.device(0).fstat(in.integer(1)));
}

// poll(device, fd) -> number of descriptors with events
static Napi::Value poll(const Napi::CallbackInfo& info) {
  Arguments in(info);
  int64_t events = 0;
  const int error = in.device(0).poll(in.integer(1), &events);
  return in.answer(error, events);
}

// lseek(device, fd) -> position
static Napi::Value lseek(const Napi::CallbackInfo& info) {
  Arguments in(info);
  int64_t position = 0;
  const int error = in.device(0).lseek(in.integer(1), &position);
  return in.answer(error, position);
}

// fcntl(device, fd, command, argument) -> value
static Napi::Value fcntl(const Napi::CallbackInfo& info) {
  Arguments in(info);
  int64_t result = 0;
  const int error = in.device(0).fcntl(in.integer(1), in.integer(2), in.number(3), &result);
  return in.answer(error, result);
}

// fork(device) -> the device in a child process, or null
static Napi::Value fork(const Napi::CallbackInfo& info) {
  Arguments in(info);
  auto child = in.device(0).fork();
  return child ? handleOf(info.Env(), std::move(child)) : info.Env().Null();
}

// exit(device): ends the child process
static Napi::Value exit(const Napi::CallbackInfo& info) {
  Arguments in(info);
  in.device(0).exit();
  return info.Env().Undefined();
}

// pid(device) -> of the process that the calls are made in
static Napi::Value pid(const Napi::CallbackInfo& info) {
  Arguments in(info);
  return in.answer(netbsd::kOK, in.device(0).pid());
}

// ---- calls on threads of their own ----------------------------------------------------------------------------------

constexpr napi_type_tag kCallTag = {0x6e766d6d20726177, 0x63616c6c20746167};

template <typename Make>
static Napi::Value callOf(const Napi::CallbackInfo& info, Make make) {
  auto call = Napi::External<Call>::New(info.Env(), new Call(deviceOf(info[0]), make),
                                        [](Napi::Env, Call* ended) { delete ended; });
  napi_type_tag_object(info.Env(), call, &kCallTag);
  return call;
}

static Call& callIn(const Napi::CallbackInfo& info) {
  bool ours = false;
  if (info[0].IsExternal()) napi_check_object_type_tag(info.Env(), info[0], &kCallTag, &ours);
  if (!ours) throw Napi::TypeError::New(info.Env(), "argument 0 is not a call");
  return *info[0].As<Napi::External<Call>>().Data();
}

// beginIoctl(device, fd, request, argument) -> call
static Napi::Value beginIoctl(const Napi::CallbackInfo& info) {
  Arguments in(info);
  in.device(0);
  return callOf(info, [fd = in.integer(1), request = in.big(2), argument = in.pointer(3)](RawDevice& device) {
    return -device.ioctlRaw(fd, request, argument);
  });
}

// beginClose(device, fd) -> call
static Napi::Value beginClose(const Napi::CallbackInfo& info) {
  Arguments in(info);
  in.device(0);
  return callOf(info, [fd = in.integer(1)](RawDevice& device) { return -device.close(fd); });
}

// beginMmap(device, fd, offset) -> call. The mapping is undone.
static Napi::Value beginMmap(const Napi::CallbackInfo& info) {
  Arguments in(info);
  in.device(0);
  return callOf(info, [fd = in.integer(1), offset = in.big(2)](RawDevice& device) {
    void* page = nullptr;
    const int error = device.mapComm(fd, offset, &page);
    if (error == netbsd::kOK) ::munmap(page, abi::kPageSize);
    return -error;
  });
}

// wait(call, ms) -> result, or undefined if the call has not returned by then
static Napi::Value wait(const Napi::CallbackInfo& info) {
  int64_t result = 0;
  if (!callIn(info).wait(std::chrono::milliseconds(info[1].ToNumber().Int64Value()), &result)) {
    return info.Env().Undefined();
  }
  return Napi::Number::New(info.Env(), static_cast<double>(result));
}

// begun(call) -> whether its thread is there
static Napi::Value begun(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), callIn(info).begun());
}

// kick(call): as a signal to its thread
static Napi::Value kick(const Napi::CallbackInfo& info) {
  callIn(info).kick();
  return info.Env().Undefined();
}

// ---- memory ---------------------------------------------------------------------------------------------------------

// allocate(length, prot) -> address of anonymous private memory
static Napi::Value allocate(const Napi::CallbackInfo& info) {
  Arguments in(info);
  void* address = ::mmap(nullptr, in.big(0), in.integer(1), MAP_PRIVATE | MAP_ANON, -1, 0);
  return in.answer(address == MAP_FAILED ? netbsdErrno(errno) : netbsd::kOK, address);
}

// munmap(address, length)
static Napi::Value munmap(const Napi::CallbackInfo& info) {
  Arguments in(info);
  return in.answer(::munmap(in.pointer(0), in.big(1)) == 0 ? netbsd::kOK : netbsdErrno(errno));
}

// load(address, bytes): fills the bytes from memory; store(address, bytes): the other way
static Napi::Value load(const Napi::CallbackInfo& info) {
  Arguments in(info);
  Napi::Uint8Array bytes = in.bytes(1);
  return in.answer(load(in.big(0), bytes.Data(), bytes.ByteLength()));
}

static Napi::Value store(const Napi::CallbackInfo& info) {
  Arguments in(info);
  const Napi::Uint8Array bytes = in.bytes(1);
  return in.answer(store(in.big(0), bytes.Data(), bytes.ByteLength()));
}

// A device around one that is the first argument.
template <class Around>
static Napi::Value wrapped(const Napi::CallbackInfo& info) {
  auto device = deviceOf(info[0]);
  if (!device) throw Napi::TypeError::New(info.Env(), "This is not a device.");
  return handleOf(info.Env(), std::make_shared<Around>(std::move(device)));
}

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("kernelDevice", kernelDevice);
  add("open", open);
  add("close", close);
  add("dup", dup);
  add("ioctl", ioctl);
  add("run", run);
  add("beginIoctl", beginIoctl);
  add("beginClose", beginClose);
  add("beginMmap", beginMmap);
  add("wait", wait);
  add("begun", begun);
  add("kick", kick);
  add("mmap", mmap);
  add("mprotect", mprotect);
  add("read", read);
  add("write", write);
  add("fstat", fstat);
  add("poll", poll);
  add("lseek", lseek);
  add("fcntl", fcntl);
  add("fork", fork);
  add("exit", exit);
  add("pid", pid);
  add("allocate", allocate);
  add("munmap", munmap);
  add("load", load);
  add("store", store);
  add("roundTrip", roundTrip);
  add("withSystemCalls", wrapped<SystemCallDevice>);  // its runs make a system call besides
  add("withStuckRuns", wrapped<StuckDevice>);         // they never end
  return exports;
}

NODE_API_MODULE(nvmm_raw, init)

}  // namespace nvmm
