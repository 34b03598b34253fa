#include <system_error>

#include "bind.h"
#include "kicker.h"
#include "runner.h"

namespace nvmm {

namespace {

// What a hot function finds through its data pointer. An environment keeps to its thread.
struct Bound {
  std::shared_ptr<Vcpu> vcpu;
  std::shared_ptr<RunnerThread> thread;
};

// A function without arguments in its cheapest form, for the path of every exit: nothing is unwrapped, and success
// answers nothing (returning a number would cost half as much again as the call).
template <int (*call)(const Bound&)>
void defineHot(Napi::Object object, const char* name, const std::shared_ptr<Vcpu>& vcpu) {
  const Napi::Env env = object.Env();
  const napi_callback callback = [](napi_env env, napi_callback_info info) -> napi_value {
    void* data;
    napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
    const int error = call(*static_cast<Bound*>(data));
    if (error == 0) return nullptr;
    napi_value result;
    napi_create_int32(env, error, &result);
    return result;
  };
  auto bound = std::make_unique<Bound>(Bound{vcpu, RunnerThread::current()});
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, bound.get(), &function) != napi_ok) {
    throw Napi::Error::New(env);
  }
  Napi::Function(env, function).AddFinalizer([](Napi::Env, Bound* owned) { delete owned; }, bound.release());
  object.Set(name, Napi::Value(env, function));
}

int run(const Bound& bound) { return bound.vcpu->run(bound.thread); }

int stop(const Bound& bound) {
  bound.vcpu->stop();
  return 0;
}

}  // namespace

Napi::Value bind(Napi::Env env, std::shared_ptr<Vcpu> vcpu, bool watch) {
  Kicker::instance().add(*vcpu, watch);
  auto object = Napi::Object::New(env);

  // comm: the comm page, detached by destroy(). exit: the 64 bytes of the last exit. status: two Uint32, 0 if nobody
  // runs the VCPU and whether it is destroyed, then BigUint64 counters of exits by reason, stops, kicks, coalesced
  // writes.
  const auto comm = viewOf(env, vcpu->commPage(), abi::kPageSize, vcpu);
  const auto weakComm = std::make_shared<Napi::Reference<Napi::ArrayBuffer>>(Napi::Weak(comm));
  object.Set("comm", comm);
  object.Set("exit", viewOf(env, &vcpu->argument()->exit, sizeof(abi::nvmm_x86_exit), vcpu->argument()));

  object.Set("status", viewOf(env, vcpu->status().get(), sizeof(Vcpu::Status), vcpu->status()));

  defineHot<run>(object, "run", vcpu);
  defineHot<stop>(object, "stop", vcpu);

  // stopRun() -> a number; withdrawStop(number)
  define(object, "stopRun", [vcpu](const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(vcpu->stop()));
  });
  define(object, "withdrawStop", [vcpu](const Napi::CallbackInfo& info) { vcpu->withdrawStop(integer(info[0])); });

  // startRun(completed): begins a run on a thread of its own; completed(errno) follows, always the first call's
  // function. completed(-1) may come before: writes wait in the coalescer.
  struct Asynchronous {
    std::shared_ptr<Coalescer> coalescer;
    std::unique_ptr<Runner> runner;
  };
  const auto asynchronous = std::make_shared<Asynchronous>();
  define(object, "startRun", [vcpu, asynchronous](const Napi::CallbackInfo& info) {
    auto& runner = asynchronous->runner;
    try {
      if (!runner) runner = std::make_unique<Runner>(info.Env(), vcpu, info[0]);
    } catch (const std::system_error&) {
      return Napi::Number::New(info.Env(), netbsd::kAGAIN);
    }
    return Napi::Number::New(info.Env(), runner->start(asynchronous->coalescer));
  });

  // coalesce(ports, memory: Float64Arrays of first and last, capacity): from the next run on; no ranges end it.
  define(object, "coalesce", [asynchronous](const Napi::CallbackInfo& info) {
    const auto rangesOf = [](const Napi::Value& value) {
      const auto ends = value.As<Napi::Float64Array>();
      std::vector<Coalescer::Range> ranges;
      for (size_t i = 0; i + 1 < ends.ElementLength(); i += 2)
        ranges.push_back({static_cast<uint64_t>(ends[i]), static_cast<uint64_t>(ends[i + 1])});
      return ranges;
    };
    auto ports = rangesOf(info[0]), memory = rangesOf(info[1]);
    const size_t capacity = info[2].As<Napi::Number>().Uint32Value();
    const bool none = ports.empty() && memory.empty();
    asynchronous->coalescer =
        none ? nullptr : std::make_shared<Coalescer>(std::move(ports), std::move(memory), capacity);
  });

  // takeWrites(into: Uint32Array of 6 words for each of `capacity` writes) -> how many
  define(object, "takeWrites", [asynchronous](const Napi::CallbackInfo& info) -> Napi::Value {
    auto into = info[0].As<Napi::Uint32Array>();
    const auto& coalescer = asynchronous->coalescer;
    const bool fits = coalescer && into.ByteLength() >= coalescer->capacity() * sizeof(Coalescer::Write);
    const size_t count = fits ? coalescer->take(reinterpret_cast<Coalescer::Write*>(into.Data())) : 0;
    return Napi::Number::New(info.Env(), static_cast<double>(count));
  });

  // teachStore(number, store: Int32Array laid out as Coalescer::Store)
  define(object, "teachStore", [asynchronous](const Napi::CallbackInfo& info) {
    Coalescer::Store store = {};
    const auto words = info[1].As<Napi::Int32Array>();
    memcpy(&store, words.Data(), std::min(words.ByteLength(), sizeof store));
    if (asynchronous->coalescer) asynchronous->coalescer->teach(info[0].As<Napi::Number>().Uint32Value(), store);
  });

  // getState(pieces)
  define(object, "getState", [vcpu](const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), vcpu->getState(integer(info[0])));
  });

  // configure(op, conf: Uint8Array of the op's size)
  define(object, "configure", [vcpu](const Napi::CallbackInfo& info) {
    auto conf = info[1].As<Napi::Uint8Array>();
    return Napi::Number::New(info.Env(), vcpu->configure(integer(info[0]), conf.Data()));
  });

  define(object, "destroy", [vcpu, weakComm](const Napi::CallbackInfo& info) {
    const int error = vcpu->destroy();
    auto comm = weakComm->Value();
    if (!comm.IsEmpty() && !comm.IsDetached()) comm.Detach();
    return Napi::Number::New(info.Env(), error);
  });

  return object;
}

}  // namespace nvmm
