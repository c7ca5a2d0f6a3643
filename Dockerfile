# nas on a CPU or an NVIDIA GPU, with the compiler that its kernels for a CPU need:
#   docker build -t nas .
#   docker run --rm -v "$PWD/runs:/work/runs" -v "$HOME/.cache/nas:/root/.cache/nas" nas search --preset quick
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends g++ git && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip install --no-cache-dir '/src[export,tune]'
WORKDIR /work
ENTRYPOINT ["nas"]
