#include "bind.h"
#include "runner.h"

namespace nvmm {

namespace {

// A function without arguments in its cheapest form, for the path of every exit: its object comes through the data
// pointer, and success answers nothing (returning a number would cost half as much again as the call).
template <int (*call)(Vcpu&)>
void defineHot(Napi::Object object, const char* name, const std::shared_ptr<Vcpu>& vcpu) {
  const Napi::Env env = object.Env();
  const napi_callback callback = [](napi_env env, napi_callback_info info) -> napi_value {
    void* data;
    napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
    const int error = call(*static_cast<Vcpu*>(data));
    if (error == 0) return nullptr;
    napi_value result;
    napi_create_int32(env, error, &result);
    return result;
  };
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, vcpu.get(), &function) != napi_ok) {
    throw Napi::Error::New(env);
  }
  // The function keeps its VCPU alive.
  Napi::Function(env, function)
      .AddFinalizer([](Napi::Env, std::shared_ptr<Vcpu>* kept) { delete kept; }, new std::shared_ptr<Vcpu>(vcpu));
  object.Set(name, Napi::Value(env, function));
}

int run(Vcpu& vcpu) { return vcpu.run(); }

int stop(Vcpu& vcpu) {
  vcpu.stop();
  return 0;
}

}  // namespace

Napi::Value bind(Napi::Env env, std::shared_ptr<Vcpu> vcpu) {
  auto object = Napi::Object::New(env);

  // comm: the comm page, detached by destroy(). exit: the 64 bytes of the last exit.
  const auto comm = viewOf(env, vcpu->commPage(), abi::kPageSize, vcpu);
  const auto weakComm = std::make_shared<Napi::Reference<Napi::ArrayBuffer>>(Napi::Weak(comm));
  object.Set("comm", comm);
  object.Set("exit", viewOf(env, vcpu->exit().get(), sizeof(abi::nvmm_x86_exit), vcpu->exit()));

  defineHot<run>(object, "run", vcpu);
  defineHot<stop>(object, "stop", vcpu);

  // startRun(completed): begins a run on a thread of its own; completed(errno) follows, always the first call's
  // function.
  define(object, "startRun", [vcpu, runner = std::shared_ptr<Runner>()](const Napi::CallbackInfo& info) mutable {
    if (!runner) runner = std::make_shared<Runner>(info.Env(), vcpu, info[0]);
    return Napi::Number::New(info.Env(), runner->start());
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
