#include "app/logging.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <memory>
#include <string_view>

#include "app/console.h"
#include "segment/time.h"

namespace segmentd {
namespace {

class LineFormatter final : public spdlog::formatter {
 public:
  explicit LineFormatter(LogFormat format) : format_(format) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    line_.clear();
    const Time time = Time::Millis(
        std::chrono::duration_cast<std::chrono::milliseconds>(message.time.time_since_epoch())
            .count());
    const spdlog::string_view_t level = spdlog::level::to_string_view(message.level);
    const bool json = format_ == LogFormat::kJson;
    line_.append(json ? "{\"time\":\"" : "time=");
    AppendTimestamp(time, &line_);
    line_.append(json ? "\",\"level\":\"" : " level=");
    line_.append(level.data(), level.size());
    line_.append(json ? "\",\"msg\":" : " msg=");
    AppendJsonString({message.payload.data(), message.payload.size()}, &line_);
    line_.append(json ? "}\n" : "\n");
    out.append(line_.data(), line_.data() + line_.size());
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LineFormatter>(format_);
  }

 private:
  LogFormat format_;
  std::string line_;
};

}  // namespace

void SetUpLogging(const std::string& level, LogFormat format) {
  auto logger = std::make_shared<spdlog::logger>("segmentd",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_formatter(std::make_unique<LineFormatter>(format));
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace segmentd
