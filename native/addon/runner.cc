#include "runner.h"

namespace nvmm {

Runner::Runner(napi_env env, std::shared_ptr<Vcpu> vcpu, napi_value completed)
    : env_(env),
      desk_(std::make_shared<Desk>(std::move(vcpu), env, completed, this)),
      thread_([desk = desk_] { desk->loop(); }) {
  napi_add_env_cleanup_hook(env, atExit, this);
}

Runner::~Runner() {
  napi_remove_env_cleanup_hook(env_, atExit, this);
  shutDown();
}

void Runner::shutDown() {
  if (ended_) return;
  ended_ = true;
  {
    std::lock_guard<std::mutex> guard(desk_->lock);
    desk_->quit = true;
  }
  desk_->wake.notify_one();
  // Who can't be interrupted is not waited for twice.
  const bool idle = !active_ || desk_->vcpu->interrupt(kPatience);
  const bool joined = thread_.join(idle ? kPatience : std::chrono::seconds(0));
  if (active_ && joined) desk_->vcpu->release();
  desk_->mailbox.close();
}

int Runner::start(std::shared_ptr<Coalescer> coalescer) {
  const int error = desk_->vcpu->claim();
  if (error != 0) return error;
  active_ = true;
  desk_->mailbox.ref();
  {
    std::lock_guard<std::mutex> guard(desk_->lock);
    desk_->requested = true;
    desk_->coalescer = std::move(coalescer);
  }
  desk_->wake.notify_one();
  return netbsd::kOK;
}

void Runner::Desk::loop() {
  std::unique_lock<std::mutex> guard(lock);
  for (;;) {
    wake.wait(guard, [this] { return requested || quit; });
    if (!requested) return;
    requested = false;
    guard.unlock();
    const intptr_t error = vcpu->runClaimed(
        coalescer.get(), [this] { mailbox.post(reinterpret_cast<void*>(static_cast<intptr_t>(kWritesWait))); });
    mailbox.post(reinterpret_cast<void*>(error));
    guard.lock();
  }
}

void Runner::deliver(napi_env env, napi_value completed, void* context, void* message) {
  if (env == nullptr) return;  // the environment is going down, and the runner with it
  auto* runner = static_cast<Runner*>(context);
  const auto desk = runner->desk_;  // `completed` may end the runner
  const auto error = static_cast<int32_t>(reinterpret_cast<intptr_t>(message));
  const bool ended = error != kWritesWait;
  if (ended) {
    runner->active_ = false;
    desk->mailbox.unref();
  }
  napi_value undefined, argument;
  napi_get_undefined(env, &undefined);
  napi_create_int32(env, error, &argument);
  napi_call_function(env, undefined, completed, 1, &argument, nullptr);
  if (ended) desk->vcpu->release();  // only now: `completed` reads the result
}

}  // namespace nvmm
