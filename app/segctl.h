// What the subcommands of segctl share: how one is added, and the options that all of them have.
#pragma once

#include <functional>
#include <string>

#include "app/exit_status.h"
#include "segment/time.h"

namespace CLI {
class App;
}

namespace segmentd {

// What is left to do when the command line has been read.
using Command = std::function<ExitStatus()>;

struct GlobalOptions {
  bool json = false;
  std::string server = "127.0.0.1:7600";
  // PEM files. Any of them turns TLS on.
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  // Holds the bearer token.
  std::string token_file;
  // Told to the server as the author of what is created or updated.
  std::string user;
  // Of one call.
  Duration timeout = Duration::Seconds(30);
};

// A check of an option of whole numbers: what is wrong with the text, or nothing.
std::string NotNegative(const std::string& text);

// Each adds its subcommands, which set *command when they are chosen. `global` outlives the
// parsing.
void AddSegmentCommands(CLI::App& segctl, const GlobalOptions& global, Command* command);
void AddMemberCommands(CLI::App& segctl, const GlobalOptions& global, Command* command);
void AddWatchCommand(CLI::App& segctl, const GlobalOptions& global, Command* command);
void AddProduceCommand(CLI::App& segctl, const GlobalOptions& global, Command* command);
void AddReplayCommand(CLI::App& segctl, const GlobalOptions& global, Command* command);

}  // namespace segmentd
