"""Chat templates (Jinja) for local models whose file brings none, or one that does not suit them.

llama.cpp renders a conversation with the template in the model's file. Two cases need one of ours:

* A base model has no chat template. `FEW_SHOT` continues a list of instructions and responses; `FEW_SHOT_STOP` ends
  the response where the model would go on with an instruction of its own.
* Qwen2.5-Coder answers with a fenced JSON block and leaves out the ``<tool_call>`` marks that its own template asks
  for, so that llama.cpp finds no call. `JSON_BLOCK_TOOLS` makes the fenced block the format of a call, and shows one
  call and its result, without which the 0.5B model calls again for ever.
"""

from __future__ import annotations

__all__ = ["FEW_SHOT", "FEW_SHOT_STOP", "JSON_BLOCK_TOOLS"]

FEW_SHOT_STOP: tuple[str, ...] = ("\n\n", "Instruction:")
"""What ends a response of `FEW_SHOT`; a request with its own stop strings replaces them."""

FEW_SHOT = """\
{{ bos_token }}Instruction: What is the largest planet in the Solar System?
Response:
The largest planet in the Solar System is Jupiter.

Instruction: Give two reasons to read books.
Response:
Reading widens your vocabulary, and it is a quiet way to relax after a long day.

Instruction: Write one sentence about the sea.
Response:
The sea lay flat and silver under the morning sun.

Instruction: What is 6 times 7?
Response:
6 times 7 is 42.

{% for message in messages -%}
{%- if message.role == 'assistant' -%}
Response:
{{ message.content }}

{% elif message.role == 'system' -%}
{{ message.content }}

{% else -%}
Instruction: {{ message.content }}
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
Response:
{% endif -%}
"""
"""Few-shot completion as a chat template, for base models."""

JSON_BLOCK_TOOLS = """\
{%- set default_system = 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' -%}
{%- set has_system = messages[0].role == 'system' -%}
<|im_start|>system
{{ messages[0].content if has_system else default_system }}
{%- if tools %}

# Tools

These functions can be called, each given by its signature:
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>

Answer in plain sentences. When a function is needed, answer with the call alone, as a JSON block:
```json
{"name": <function-name>, "arguments": <args-json-object>}
```
When you have the function's result, say it in a sentence.<|im_end|>
<|im_start|>user
Thank you.<|im_end|>
<|im_start|>assistant
You are welcome.<|im_end|>
<|im_start|>user
What time is it in Oslo?<|im_end|>
<|im_start|>assistant
```json
{"name": "get_time", "arguments": {"place": "Oslo"}}
```<|im_end|>
<|im_start|>user
The function returned: 09:41<|im_end|>
<|im_start|>assistant
It is 09:41 in Oslo.
{%- endif -%}
<|im_end|>
{% for message in messages -%}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% elif message.role == 'assistant' -%}
<|im_start|>assistant
{%- if message.content %}
{{ message.content }}
{%- endif -%}
{%- for call in message.tool_calls %}
```json
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
```
{%- endfor -%}<|im_end|>
{% elif message.role == 'tool' -%}
<|im_start|>user
The function returned: {{ message.content }}<|im_end|>
{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
"""ChatML in which a tool call is a fenced JSON block, for Qwen2.5-Coder."""
