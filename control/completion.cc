// SPDX-License-Identifier: BSD-3-Clause
#include "control/completion.hh"

#include "control/client.hh"
#include "control/print_parts.hh"
#include "control/vm.hh"
#include "control/vm_commands.hh"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

namespace strait::control {

namespace json = boost::json;

namespace {

std::string option_name(const parameter& p)
{
    return label(p, wording::command_line);
}

// The words in front of the one that is typed, and what they leave to be said.
class reader {
public:
    reader(const cli::program& p, std::span<const std::string> words, const known_names& names)
        : program_{p}, names_{names}, typed_{words.empty() ? std::string{} : words.back()}
    {
        for (const std::string& word : words.first(words.empty() ? 0 : words.size() - 1)) {
            take(word);
        }
        // A shell may split --option=value at its '='.
        if (typed_ == "=" && (value_of_ != nullptr || run_dir_follows_)) {
            typed_.clear();
        }
    }

    completion run()
    {
        if (run_dir_follows_) {
            out_.files = true;
        } else if (value_of_ != nullptr) {
            put_value(*value_of_);
        } else if (typed_.starts_with("-")) {
            put_options();
        } else if (method_ != nullptr) {
            if (const parameter* p = next_positional()) {
                put_value(*p);
            }
        } else {
            put_commands();
        }
        return {{found_.begin(), found_.end()}, out_.files};
    }

private:
    void take(const std::string& word)
    {
        if (word == "=") {
            return;
        }
        if (run_dir_follows_) {
            run_dir_ = word;
            run_dir_follows_ = false;
        } else if (value_of_ != nullptr) {
            value_of_ = nullptr;
        } else if (word.starts_with("--") && word.find('=') == std::string::npos) {
            take_option(word);
        } else if (!word.starts_with("-")) {
            take_word(word);
        }
    }

    void take_option(const std::string& word)
    {
        run_dir_follows_ = word == "--run-dir";
        if (method_ == nullptr) {
            return;
        }
        for (const parameter& p : method_->parameters) {
            if (!p.positional && option_name(p) == word) {
                given_.insert(p.name);
                value_of_ = p.kind == value_kind::truth ? nullptr : &p;
            }
        }
    }

    void take_word(const std::string& word)
    {
        if (method_ != nullptr) {
            if (const parameter* p = next_positional()) {
                given_.insert(p->name);
            }
            return;
        }
        if (group_.empty() && word == "help") {
            return;
        }
        method_ = find_method(*program_.commands, group_.empty() ? word : group_ + "." + word);
        nonsense_ = method_ == nullptr && !group_.empty();
        group_ = group_.empty() ? word : group_;
    }

    [[nodiscard]] const parameter* next_positional() const
    {
        const auto& all = method_->parameters;
        const auto p = std::ranges::find_if(all, [this](const parameter& q) {
            return q.positional && (q.repeats > 0 || !given_.contains(q.name));
        });
        return p == all.end() ? nullptr : &*p;
    }

    void put(std::string word)
    {
        if (word.starts_with(typed_)) {
            found_.insert(std::move(word));
        }
    }

    void put_commands()
    {
        if (nonsense_) {
            return;
        }
        const std::string prefix = group_.empty() ? "" : group_ + ".";
        for (const method& m : *program_.commands) {
            if (m.name.starts_with(prefix)) {
                const std::string_view rest = m.name.substr(prefix.size());
                put(std::string{rest.substr(0, rest.find('.'))});
            }
        }
        if (group_.empty()) {
            put("help");
        }
    }

    void put_options()
    {
        put("--help");
        put("--json");
        put("--run-dir");
        if (method_ == nullptr) {
            put("--version");
            return;
        }
        if (cli::has_rates(*method_)) {
            put("--rates");
            put("--watch");
        }
        for (const parameter& p : method_->parameters) {
            if (!p.positional && (p.repeats > 0 || !given_.contains(p.name))) {
                put(option_name(p));
            }
        }
    }

    void put_value(const parameter& p)
    {
        for (const auto choice : p.choices) {
            put(std::string{choice});
        }
        constexpr std::array<std::string_view, 6> paths{"PATH", "FILE",   "FILE.pcap",
                                                        "DIR",  "SOCKET", "IMAGE"};
        out_.files = p.kind == value_kind::file || p.kind == value_kind::lines ||
                     std::ranges::find(paths, p.placeholder) != paths.end() ||
                     p.placeholder.ends_with("|FILE.pcap");
        // What is made has a name that nothing has yet.
        const bool made = p.positional && p.name == "name" &&
                          (method_->name.ends_with(".add") || method_->name == "vm.run");
        if (!made) {
            for (std::string& name : names_(run_dir_, *method_, p)) {
                put(std::move(name));
            }
        }
    }

    const cli::program& program_;
    const known_names& names_;
    std::string typed_;
    std::string run_dir_{cli::global_options{}.run_dir};
    std::string group_;
    const method* method_{nullptr};
    const parameter* value_of_{nullptr};
    bool run_dir_follows_{false};
    bool nonsense_{false}; // there is no such command
    std::set<std::string_view> given_;
    std::set<std::string> found_;
    completion out_;
};

// The list that has the names which a parameter may be; nothing: it is no name of a thing.
std::optional<std::string_view> list_of(const method& m, const parameter& p)
{
    if (is_vm_command(m) && p.positional) {
        return "vm.list";
    }
    const std::string_view first = p.placeholder.substr(0, p.placeholder.find_first_of("|,"));
    if (m.name.starts_with("acl.") && first == "NAME") {
        return "acl.list";
    }
    return first == "PORT"     ? std::optional<std::string_view>{"port.list"}
           : first == "BRIDGE" ? std::optional<std::string_view>{"bridge.list"}
           : first == "MIRROR" ? std::optional<std::string_view>{"mirror.list"}
                               : std::nullopt;
}

std::vector<std::string> ask_daemon(const std::string& run_dir, const method& m, const parameter& p)
{
    std::vector<std::string> out;
    const auto list = list_of(m, p);
    if (!list) {
        return out;
    }
    try {
        const method& asked = *find_method(*straitctl_program().commands, *list);
        json::value answer;
        if (is_vm_command(asked)) {
            answer = do_vm_command({.run_dir = run_dir}, asked, {});
        } else {
            service_address daemon = daemon_in(run_dir);
            daemon.patience = std::chrono::seconds{2};
            answer = client{std::move(daemon)}.call(*list, {});
        }
        for (const json::value& one : as_array(answer)) {
            out.push_back(plain(member(as_object(one), "name")));
        }
    } catch (const call_error&) {
        // There are none then.
    }
    return out;
}

} // namespace

completion complete(const cli::program& p, std::span<const std::string> words,
                    const known_names& names)
{
    return reader{p, words, names}.run();
}

bool is_completion(const method& m)
{
    return m.name == "completion";
}

method completion_method()
{
    return {.name = "completion",
            .summary = "Print what a shell reads to complete straitctl's words",
            .changes = false,
            .parameters = {{.name = "shell",
                            .kind = value_kind::choice,
                            .help = "the shell",
                            .placeholder = "SHELL",
                            .required = true,
                            .positional = true,
                            .choices = {"bash"}}},
            .result = {{"script", "string", "for the shell"}}};
}

std::string bash_completion()
{
    return R"(# SPDX-License-Identifier: BSD-3-Clause
# bash completion for straitctl: printed by `straitctl completion bash`.
_straitctl()
{
    local line current=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    [ "$current" = = ] && current=
    while IFS= read -r line; do
        if [ "$line" = :files ]; then
            compopt -o filenames 2> /dev/null
            while IFS= read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -f -- "$current")
        else
            COMPREPLY+=("$line")
        fi
    done < <("$1" completion words "${COMP_WORDS[@]:1:COMP_CWORD}" 2> /dev/null)
}
complete -F _straitctl straitctl
)";
}

bool asks_for_words(std::span<const std::string> words)
{
    return words.size() >= 2 && words[0] == "completion" && words[1] == "words";
}

std::string completed_words(std::span<const std::string> words)
{
    const completion c = complete(straitctl_program(), words.subspan(2), ask_daemon);
    std::string out;
    for (const std::string& word : c.words) {
        out += word + "\n";
    }
    return out + (c.files ? ":files\n" : "");
}

} // namespace strait::control
