#include "background.h"

#include <system_error>

#include "../abi/netbsd_errno.h"
#include "mailbox.h"
#include "thread.h"

namespace nvmm {

namespace {

class Job {
 public:
  using Work = std::function<int()>;
  using Result = std::function<Napi::Value(Napi::Env, int)>;

  // Deletes itself, in the environment's thread.
  static Napi::Promise start(Napi::Env env, Work work, Result result) {
    auto* job = new Job(env, std::move(result));
    const auto promise = job->deferred_.Promise();
    try {
      job->thread_ = std::make_unique<Thread>([work = std::move(work), outcome = job->outcome_]() mutable {
        const intptr_t error = work();
        work = nullptr;
        outcome->post(reinterpret_cast<void*>(error));
      });
    } catch (const std::system_error&) {
      settle(env, nullptr, job, reinterpret_cast<void*>(static_cast<intptr_t>(netbsd::kAGAIN)));
    }
    return promise;
  }

 private:
  Job(Napi::Env env, Result result)
      : env_(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        result_(std::move(result)),
        outcome_(
            std::make_shared<Mailbox>(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), this, settle)) {
    outcome_->ref();
    napi_add_env_cleanup_hook(env, abandon, this);
  }

  static void settle(napi_env env, napi_value, void* context, void* error) {
    if (env == nullptr) return;
    const std::unique_ptr<Job> job(static_cast<Job*>(context));
    napi_remove_env_cleanup_hook(env, abandon, job.get());
    if (job->thread_) job->thread_->join(kPatience);
    job->outcome_->close();
    const Napi::HandleScope scope(env);
    try {
      job->deferred_.Resolve(job->result_(env, static_cast<int>(reinterpret_cast<intptr_t>(error))));
    } catch (const Napi::Error&) {
      // A Worker that is being terminated makes no objects any more. Nobody waits for them.
    }
  }

  static void abandon(void* context) {
    const std::unique_ptr<Job> job(static_cast<Job*>(context));
    job->outcome_->close();
    job->thread_->join(kPatience);
  }

  const Napi::Env env_;
  Napi::Promise::Deferred deferred_;
  Result result_;
  const std::shared_ptr<Mailbox> outcome_;
  std::unique_ptr<Thread> thread_;
};

}  // namespace

Napi::Value inBackground(Napi::Env env, std::function<int()> work, std::function<Napi::Value(Napi::Env, int)> result) {
  return Job::start(env, std::move(work), std::move(result));
}

}  // namespace nvmm
