#include "runner.h"

#include <signal.h>

#include "../device/kernel_device.h"

namespace nvmm {

Runner::Runner(napi_env env, std::shared_ptr<Vcpu> vcpu, napi_value completed) : env_(env), vcpu_(std::move(vcpu)) {
  napi_value name;
  napi_create_string_utf8(env, "nvmm run", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, completed, nullptr, name, 0, 1, nullptr, nullptr, this, deliver, &deliver_);
  napi_unref_threadsafe_function(env, deliver_);
  napi_add_env_cleanup_hook(env, atExit, this);

  // Signals to the process belong to the threads of Node: only kicks may reach this one.
  sigset_t all, previous;
  sigfillset(&all);
  sigdelset(&all, kKickSignal);
  pthread_sigmask(SIG_SETMASK, &all, &previous);
  thread_ = std::thread([this] { loop(); });
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
}

Runner::~Runner() {
  napi_remove_env_cleanup_hook(env_, atExit, this);
  shutDown();
}

void Runner::shutDown() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard<std::mutex> guard(lock_);
    quit_ = true;
  }
  wake_.notify_one();
  if (active_) vcpu_->interrupt();
  thread_.join();
  if (active_) vcpu_->release();
  napi_release_threadsafe_function(deliver_, napi_tsfn_abort);
}

int Runner::start() {
  const int error = vcpu_->claim();
  if (error != 0) return error;
  active_ = true;
  napi_ref_threadsafe_function(env_, deliver_);
  {
    std::lock_guard<std::mutex> guard(lock_);
    requested_ = true;
  }
  wake_.notify_one();
  return netbsd::kOK;
}

void Runner::loop() {
  std::unique_lock<std::mutex> guard(lock_);
  for (;;) {
    wake_.wait(guard, [this] { return requested_ || quit_; });
    if (!requested_) return;
    requested_ = false;
    guard.unlock();
    const intptr_t error = vcpu_->runClaimed();
    napi_call_threadsafe_function(deliver_, reinterpret_cast<void*>(error), napi_tsfn_nonblocking);
    guard.lock();
  }
}

void Runner::deliver(napi_env env, napi_value completed, void* context, void* error) {
  if (env == nullptr) return;  // the environment is going down, and the runner with it
  auto* runner = static_cast<Runner*>(context);
  runner->active_ = false;
  runner->vcpu_->release();
  napi_unref_threadsafe_function(env, runner->deliver_);
  napi_value undefined, argument;
  napi_get_undefined(env, &undefined);
  napi_create_int32(env, static_cast<int32_t>(reinterpret_cast<intptr_t>(error)), &argument);
  napi_call_function(env, undefined, completed, 1, &argument, nullptr);
}

}  // namespace nvmm
