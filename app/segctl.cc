// segctl: segments and memberships from the command line.

#include "app/segctl.h"

#include <simdjson.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "app/console.h"
#include "app/duration_option.h"
#include "app/help.h"

namespace segmentd {
namespace {

constexpr char kDescription[] =
    "segctl works with segments: it creates and changes them on a segmentd server, asks who is in "
    "them\n"
    "and why, and tries them on a file of events without any server.\n";

constexpr char kExamples[] =
    "Examples:\n"
    "  segctl segment create -f cart.yaml\n"
    "  segctl member explain cart-left-behind u42\n"
    "  segctl replay --segments cart.yaml --events events.ndjson.gz\n"
    "\n"
    "Global options stand before or after a subcommand. `segctl COMMAND --help` tells more of "
    "each.\n"
    "Exit status: 0 done; 1 the answer is no, or nothing was found; 2 wrong use or bad input; 3 "
    "unavailable.\n";

void AddGlobalOptions(CLI::App& app, GlobalOptions* global) {
  app.add_flag("--json", global->json, "Write JSON instead of text for people");
  app.add_option("--server", global->server, "The segmentd server")
      ->envname("SEGCTL_SERVER")
      ->type_name("HOST:PORT")
      ->capture_default_str()
      ->group("Server");
  // Kafka's client counts a timeout in an int of milliseconds, some 24 days.
  AddDuration(
      app, "--timeout", [global](Duration given) { global->timeout = given; }, Duration::Millis(1),
      Duration::Days(7), "Longest time for one call")
      ->default_str(FormatDuration(global->timeout))
      ->group("Server");
  app.add_option("--user", global->user, "Told as the author of what is created or updated")
      ->envname("SEGCTL_USER")
      ->type_name("NAME")
      ->group("Server");
  app.add_option("--token-file", global->token_file, "File with the bearer token")
      ->envname("SEGCTL_TOKEN_FILE")
      ->type_name("FILE")
      ->group("Server");
  app.add_option("--tls-ca", global->tls_ca, "PEM file of the authorities to trust; turns TLS on")
      ->envname("SEGCTL_TLS_CA")
      ->type_name("FILE")
      ->group("Server");
  app.add_option("--tls-cert", global->tls_cert, "PEM file of this client's certificate")
      ->envname("SEGCTL_TLS_CERT")
      ->type_name("FILE")
      ->group("Server");
  app.add_option("--tls-key", global->tls_key, "PEM file of this client's key")
      ->envname("SEGCTL_TLS_KEY")
      ->type_name("FILE")
      ->group("Server");
}

// What is given that is not UTF-8, in words, or nothing. Segments and users are named in it, and
// protobuf takes no other text; a file may have any name.
std::string NotUtf8(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_type_name() == "FILE") continue;
    for (const std::string& given : option->results()) {
      if (simdjson::validate_utf8(given)) continue;
      const std::string& variable = option->get_envname();
      return absl::StrCat(option->get_name(),
                          variable.empty() ? "" : absl::StrCat(" (", variable, ")"), ": \"",
                          Printable(given), "\" is not UTF-8; write it in UTF-8");
    }
  }
  for (const CLI::App* chosen : app.get_subcommands()) {
    if (std::string wrong = NotUtf8(*chosen); !wrong.empty()) return wrong;
  }
  return "";
}

// What CLI11 tells in its own order, an unknown option's value before the option.
std::string Unexpected(const CLI::App& app) {
  const std::vector<std::string> left = app.remaining(/*recurse=*/true);
  for (const std::string& argument : left) {
    if (argument.size() > 1 && argument[0] == '-' && argument != "--") {
      return absl::StrCat("there is no option ", argument.substr(0, argument.find('=')));
    }
  }
  return absl::StrCat("not expected: ", absl::StrJoin(left, " "));
}

int Run(int argc, char** argv) {
  // What matters of gRPC's log is in the messages; who looks for more sets this variable.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  GlobalOptions global;
  Command command;
  CLI::App app(kDescription, "segctl");
  app.formatter(std::make_shared<Help>());
  app.footer(kExamples);
  app.fallthrough();
  app.require_subcommand(0, 1);
  app.set_version_flag("--version", absl::StrCat("segctl ", SEGMENTD_VERSION));
  AddGlobalOptions(app, &global);
  AddSegmentCommands(app, global, &command);
  AddMemberCommands(app, global, &command);
  AddWatchCommand(app, global, &command);
  AddReplayCommand(app, global, &command);
  AddProduceCommand(app, global, &command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {
    app.exit(asked);
    return kDone;
  } catch (const CLI::ParseError& error) {
    const bool unexpected = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
    return Complain(kWrongUse, absl::StrCat(unexpected ? Unexpected(app) : error.what(),
                                            "\nRun it with --help for what is allowed."));
  }
  if (const std::string wrong = NotUtf8(app); !wrong.empty()) return Complain(kWrongUse, wrong);
  if (!command) {
    const CLI::App* chosen = &app;
    while (!chosen->get_subcommands().empty()) chosen = chosen->get_subcommands().front();
    fputs(chosen->help().c_str(), stderr);
    return kWrongUse;
  }
  const ExitStatus status = command();
  if (fflush(stdout) != 0) return Complain(kUnavailable, "standard output could not be written");
  return status;
}

}  // namespace

std::string NotNegative(const std::string& text) {
  int64_t number = 0;
  return absl::SimpleAtoi(text, &number) && number >= 0 ? "" : "write a whole number, 0 or more";
}

}  // namespace segmentd

int main(int argc, char** argv) {
  return segmentd::Run(argc, argv);
}
